"""Runs as one web page: how they learned, how well they answer, and what they take for what."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mkg_builder import schema
from mkg_builder.errors import UsageError
from mkg_builder.page import Curves, curves, environment
from mkg_builder.picture import PictureError, decode_picture, resize
from vlkge.compare import compare_runs, modality_rows, relation_rows, rows
from vlkge.dataset import Dataset
from vlkge.evaluate import SCORES_AT_ONCE, Evaluator
from vlkge.protocol import EvaluationProtocol, QueryGroup, all_triples
from vlkge.run import Run
from vlkge.scores import ModelScores

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL = 160
WORST, EXAMPLES = 5, 3
"""Confusions of a relation, and entities shown of each."""


@dataclass(frozen=True)
class Confusion:
    """A wrong answer that is given often.

    Attributes:
        expected: the label of the right answer.
        answered: the label of what the model puts first instead.
        times: for how many queries.
        asked: how many queries have this right answer.
        examples: id and label of some of the entities asked about.
    """

    expected: str
    answered: str
    times: int
    asked: int
    examples: Sequence[tuple[str, str]]


def render_run_report(
    runs: Sequence[Run], split: str, protocol: EvaluationProtocol, release: Path | None = None, seed: int = 0
) -> str:
    """The page: one HTML document that asks for nothing, without script.

    Args:
        runs: side by side; the first is what the others are compared with.
        split: whose triples are asked.
        protocol: how answers are ranked.
        release: where the pictures of the entities are; a run holds none.
        seed: of the intervals' resampling.

    Raises:
        UsageError: the release is not what the first run was trained on.
        RunError: a run is damaged, or the split has nothing to ask.
    """
    if release is not None:
        _require_match(release, runs[0].dataset)
    compared = compare_runs(runs, split, protocol, seed)
    names = [one.name for one in compared]
    confused = {one.name: confusions(run, split, protocol) for one, run in zip(compared, runs, strict=True)}
    shown = [name for of_run in confused.values() for found in of_run.values() for c in found for name, _ in c.examples]
    return environment(TEMPLATES).get_template("run_report.html").render(
        names=names,
        runs=list(zip(names, runs, strict=True)),
        about=compared[0].result.about,
        results=compared,
        overall=rows(compared),
        relations=relation_rows(compared),
        modalities=modality_rows(compared),
        charts=learning_curves(dict(zip(names, runs, strict=True))),
        confused=confused,
        pictures=thumbnails(release, shown) if release else {},
        release=release,
    )  # fmt: skip


def learning_curves(runs: Mapping[str, Run]) -> list[Curves]:
    """Validation MRR and loss over the epochs, a line for each run."""
    titles = {"validation_mrr": "Validation MRR by epoch", "loss": "Loss by epoch"}
    found = []
    for key, title in titles.items():
        series = {
            name: [(epoch["epoch"], epoch[key]) for epoch in run.progress["history"] if epoch[key] is not None]
            for name, run in runs.items()
        }
        if any(series.values()):
            found.append(curves(title, series))
    return found


def confusions(run: Run, split: str, protocol: EvaluationProtocol) -> dict[str, list[Confusion]]:
    """Of each relation that gives an entity one answer, the wrong answers that are put first most often."""
    evaluator = Evaluator(run.dataset, split, protocol)
    scores = ModelScores(run.load_model(), evaluator.entities())
    asked = (group for group in evaluator.groups if group.direction == "tail" and _gives_one_answer(run.dataset, group))
    found = {run.dataset.relations[group.relation]: _worst(run.dataset, group, scores) for group in asked}
    return {relation: worst for relation, worst in found.items() if worst}


def _gives_one_answer(dataset: Dataset, group: QueryGroup) -> bool:
    facts = all_triples(dataset)
    heads = facts[facts[:, 1] == group.relation, 0]
    stated = dataset.relation_info[dataset.relations[group.relation]].functional
    return stated or len(torch.unique(heads)) == len(heads)


def _worst(dataset: Dataset, group: QueryGroup, scores: ModelScores) -> list[Confusion]:
    missed: dict[tuple[int, int], list[int]] = defaultdict(list)
    asked: dict[int, int] = defaultdict(int)
    for head, expected, answered in _first_answers(group, scores):
        asked[expected] += 1
        if expected != answered:
            missed[expected, answered].append(head)
    worst = sorted(missed.items(), key=lambda item: -len(item[1]))[:WORST]
    return [
        Confusion(dataset.labels[expected], dataset.labels[answered], len(heads), asked[expected],
                  [(dataset.entities[head], dataset.labels[head]) for head in heads[:EXAMPLES]])
        for (expected, answered), heads in worst
    ]  # fmt: skip


def _first_answers(group: QueryGroup, scores: ModelScores) -> Iterator[tuple[int, int, int]]:
    """Of each query the entity asked about, the right answer, and the answer that scores best."""
    at_once = max(1, SCORES_AT_ONCE // len(group.candidates))
    for anchors, targets in zip(*(torch.split(part, at_once) for part in (group.anchors, group.targets)), strict=True):
        best = scores.score(group.direction, group.relation, anchors, group.candidates).argmax(1).cpu()
        yield from zip(anchors.tolist(), group.candidates[targets].tolist(), group.candidates[best].tolist(),
                       strict=True)  # fmt: skip


def _require_match(release: Path, dataset: Dataset) -> None:
    manifest = schema.read_manifest(release)
    if manifest["content_sha256"] != dataset.content_sha256:
        raise UsageError(
            f"--release {release} is {manifest['name']} {manifest['version']} of other content than the run's "
            f"{dataset.name} {dataset.version}; give the release that it was trained on"
        )


def thumbnails(release: Path, entities: Sequence[str]) -> dict[str, bytes]:
    """Small JPEGs of those entities that have a picture which can be decoded."""
    wanted = set(entities)
    made: dict[str, bytes] = {}
    for shard, group, ids in schema.find_rows(release, "artworks") if wanted else ():
        for entity in sorted(wanted.intersection(ids.to_pylist())):
            if (data := schema.read_picture(release, shard, group, entity)) is not None and (jpeg := _small(data)):
                made[entity] = jpeg
    return made


def _small(data: bytes) -> bytes | None:
    try:
        return resize(decode_picture(data), THUMBNAIL)
    except PictureError:
        return None
