"""The card of an exported run: what it was trained on, what it reaches under which protocol, what its files hold."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from mkg_builder.markdown import cell
from vlkge.dataset import HUB_SCHEME, Dataset
from vlkge.evaluate import EvaluationResult
from vlkge.features import ModalityFeatures
from vlkge.model import STRUCTURAL, KGEModel
from vlkge.run import Run

COLUMNS = ("relation", "queries", "candidates", "MRR", "Hits@1", "Hits@3", "Hits@10", "chance MRR", "frequent MRR")

CARD = """\
---
{front}
---
# {name}

{scorer} embeddings of {entities:,} entities and {relations:,} relations of {dataset}, seed {seed}.

```
vlkge predict ORG/NAME --image painting.jpg
```

Test split, protocol {protocol}, ties {ties}; beside it the MRR of a random order and of the relation's most frequent
answers:

{table}

Vectors are made of:

{parts}

`embeddings/entities.parquet` and `embeddings/relations.parquet` hold them as float32 lists; an entity's is {layout}.
`known` is false where an entity has neither a modality nor a vector of its own.
"""


def render_card(run: Run, model: KGEModel, result: EvaluationResult, license_id: str | None) -> str:
    """The card as Markdown with the Hub's front matter; names that come from outside are escaped."""
    dataset, about = run.dataset, result.about
    said = f"{cell(dataset.name)} {cell(dataset.version)} (content sha256 `{dataset.content_sha256}`"
    parts = [f"* {STRUCTURAL}: learned"] if STRUCTURAL in model.real.modalities else []
    return CARD.format(
        front=_front_matter(run, result, license_id),
        name=cell(run.name),
        scorer=cell(run.experiment.model.scorer),
        entities=len(dataset.entities),
        relations=len(dataset.relations),
        dataset=said + (f", commit `{dataset.revision}`)" if dataset.revision else ")"),
        seed=about["seed"],
        protocol=f"{about['protocol']['name']} {about['protocol']['version']}",
        ties=about["protocol"]["ties"],
        table=_table(result.rows()),
        parts="\n".join([*parts, *map(_encoder, run.features.values()), *_observed(run)]),
        layout="its real part and behind it its imaginary part" if model.scorer.parts > 1 else "one real vector",
    )


def _front_matter(run: Run, result: EvaluationResult, license_id: str | None) -> str:
    dataset, metrics, rules = run.dataset, result.model.overall, result.about["protocol"]
    of_hub = _on_the_hub(run.experiment.dataset, dataset)
    measured = {"mrr": metrics.mrr, "hits@1": metrics.hits_at_1, "hits@10": metrics.hits_at_10}
    results = [
        EvalResult(
            task_type="graph-ml", task_name=f"link prediction, protocol {rules['name']} {rules['version']}",
            dataset_type=of_hub or dataset.name, dataset_name=f"{dataset.name} {dataset.version}",
            dataset_split="test", dataset_revision=dataset.revision, metric_type=name, metric_value=round(value, 4),
        )
        for name, value in measured.items()
    ]  # fmt: skip
    data = ModelCardData(
        license=license_id, library_name="vlkge", pipeline_tag="graph-ml", datasets=of_hub, eval_results=results,
        tags=["knowledge-graph-embeddings", "link-prediction", "multimodal"], model_name=run.name,
    )  # fmt: skip
    text: str = data.to_yaml()
    return text


def _on_the_hub(source: str | None, dataset: Dataset) -> str | None:
    return source.removeprefix(HUB_SCHEME).partition("@")[0] if source and dataset.revision else None


def _encoder(part: ModalityFeatures) -> str:
    info = part.info
    return f"* {info.modality}: {cell(info.spec)} (revision {cell(info.revision)}), {len(part.ids):,} entities"


def _observed(run: Run) -> list[str]:
    names = run.experiment.model.observed
    seen = f"and what they gain by what the model sees in the graph ({', '.join(names)}), which no vector holds"
    return ["", f"Scores are those of the vectors, {seen}."] if names else []


def _table(rows: Sequence[Sequence[Any]]) -> str:
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1)]
    lines += [[cell(f"{v:.3f}" if isinstance(v, float) else v) for v in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
