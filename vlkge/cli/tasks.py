"""zero-shot, probe, retrieve: what vectors are good for beside link prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.cli.evaluation import COLUMNS, said, title
from vlkge.cli.options import AsJson, Quiet, ReleaseName, Split, features_folder, ignore

if TYPE_CHECKING:
    from vlkge.dataset import Dataset
    from vlkge.encoders import Modality
    from vlkge.entity_vectors import EntityVectors
    from vlkge.model import Features

app = typer.Typer()

FeaturesFolder = Annotated[
    Path | None, typer.Option("--features", help="What `vlkge encode` wrote; default: its default place.")
]
ReleaseOrNone = Annotated[
    str | None, typer.Argument(metavar="[RELEASE]", help="A release folder, or ORG/NAME[@REV]; with --run its own.")
]
OfRun = Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The fused vectors of a run instead.")]
OfModality = Annotated[
    Literal["image", "text"] | None,
    typer.Option(help="Whose vectors, of a release; default: image where there is one."),
]
Seed = Annotated[int, typer.Option(help="Of everything random.")]


@app.command("zero-shot", epilog="Example: vlkge zero-shot workspace/releases/demo-1.0.0 --protocol strict")
def zero_shot(
    release: ReleaseName,
    features: FeaturesFolder = None,
    split: Split = "test",
    protocol: Annotated[str, typer.Option(help="strict, or reference: the official code's.")] = "strict",
    text_encoder: Annotated[
        str | None, typer.Option(help="What reads the prompts; default: what made the text vectors.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where prompts are read: cpu, cuda, or auto.")] = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank answers by the cosine of a picture and of the sentence that states the answer, without training."""
    from vlkge.evaluate import Evaluator
    from vlkge.protocol import make_protocol
    from vlkge.zero_shot import zero_shot

    rules = make_protocol(protocol)
    dataset, found = _load(release, features)
    with terminal.progress_bar(quiet) as advance:
        result = zero_shot(Evaluator(dataset, split, rules), found, text_encoder, device, advance or ignore)
    if as_json:
        terminal.show_json(result.to_json())
        return
    terminal.show_table(f"Zero-shot: {title(result, split)}", COLUMNS, result.rows())
    if not quiet:
        about = result.about["zero_shot"]
        heads = about["heads"]
        terminal.note(about["pictures"])
        terminal.note(f"{said(result)}; of {heads['asked']:,} heads {heads['by_picture']:,} by picture, "
                      f"{heads['by_text']:,} by text, {heads['without']:,} without: their answers tie")  # fmt: skip


@app.command(epilog="Example: vlkge probe workspace/releases/demo-1.0.0 --of hasStyle")
def probe(
    release: ReleaseOrNone = None,
    features: FeaturesFolder = None,
    run: OfRun = None,
    modality: OfModality = None,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", metavar="NAME", help="A relation, or a literal that is a number; repeat the option. "
                     "Default: every relation of the unseen type."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="strict (trained to the end), or reference: the paper's.")] = "strict",
    scaling: Annotated[
        Literal["none", "minmax", "zscore"] | None, typer.Option(help="Of numbers, while they are learned.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """What one linear layer reads off the vectors: classes, labels and numbers, beside the majority's."""
    from dataclasses import replace

    from vlkge.dataset import find_release
    from vlkge.pretrained import find_device
    from vlkge.probe import choose_relations, describe, literal_task, relation_task, run_task
    from vlkge.tasks.linear_probe import find_protocol

    place, rules = find_device(device), find_protocol(protocol)
    rules = replace(rules, scaling=scaling or rules.scaling)
    dataset, vectors, _ = _vectors(release, features, run, modality)
    folder = find_release(release)[0] if release else None
    tasks = [
        literal_task(dataset, folder, vectors.present, name, rules)
        if folder and name not in dataset.relations else relation_task(dataset, vectors.present, name, rules)
        for name in of or choose_relations(dataset)
    ]  # fmt: skip
    on_device = vectors.vectors.to(place)
    with terminal.progress_bar(quiet) as advance:
        results = [run_task(task, on_device, rules, seed, advance or ignore) for task in tasks]
    about = describe(dataset, vectors, rules, seed)
    if as_json:
        terminal.show_json({**about, "probes": [result.to_json() for result in results]})
        return
    terminal.show_table(f"Linear probes: {dataset.name} {dataset.version}, test split",
                        ("read", "as", "answers", "train", "test", "metric", "probe", "baseline"),
                        [row for result in results for row in result.rows()])  # fmt: skip
    if not quiet:
        terminal.note(f"{vectors.source}; protocol {rules.name} {rules.version}, seed {seed}; "
                      "baselines: the majority class, how frequent labels are, the median")  # fmt: skip


@app.command(epilog="Example: vlkge retrieve workspace/releases/demo-1.0.0 --top 20")
def retrieve(
    release: ReleaseOrNone = None,
    features: FeaturesFolder = None,
    run: OfRun = None,
    modality: OfModality = None,
    relation: Annotated[
        str | None, typer.Option(help="With --run: by its scorer's tails of this relation, from a type to itself.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--type", help="What is retrieved; default: the unseen type.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="A relation whose shared tail is relevance; repeat it. Default: all.")
    ] = None,
    split: Split = "test",
    pool: Annotated[Literal["split", "all"], typer.Option(help="Look among the split's entities, or all.")] = "split",
    top: Annotated[int, typer.Option(min=2, help="How long the lists are.")] = 50,
    of: Annotated[str | None, typer.Option("--of", metavar="ENTITY", help="List the nearest of one entity.")] = None,
    approximate: Annotated[bool, typer.Option("--approximate", help="Search by faiss, for large graphs.")] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Related entities: lists judged by what they share, beside random ones; or the nearest of one entity."""
    from dataclasses import asdict

    from vlkge.retrieve import (
        Request,
        by_cosine,
        by_relation,
        choose_attributes,
        choose_type,
        related,
        retrieve,
    )
    from vlkge.run import load_run

    if relation and (run is None or approximate):
        raise UsageError("--relation asks the scorer of a --run, exactly; leave --approximate out")
    dataset, vectors, space = _vectors(release, features, run, modality)
    retriever = by_relation(load_run(run), relation) if run and relation else by_cosine(vectors, approximate)
    if of is not None:
        kind = dataset.types[dataset.entity_index(of)]
    elif relation:
        kind = dataset.relation_info[relation].domain
    else:
        kind = choose_type(dataset, kind)
    attributes = choose_attributes(dataset, kind, attribute)
    if of is not None:
        found = related(dataset, retriever, attributes, of, top)
        if as_json:
            terminal.show_json([asdict(one) for one in found])
            return
        terminal.show_table(f"Nearest to {of}", ("rank", "label", "entity", "score", "shares"),
                            [(r.rank, r.label, r.entity, r.score, ", ".join(r.shares)) for r in found])  # fmt: skip
        if not quiet:
            terminal.note(retriever.name)
        return
    result = retrieve(dataset, retriever, space, attributes, Request(kind, split, pool, top, seed))
    if as_json:
        terminal.show_json(result.to_json())
        return
    terminal.show_table(f"Related {kind}: {dataset.name} {dataset.version}, {split} split",
                        ("attribute", "metric", "retrieved", "random order"), result.rows())  # fmt: skip
    if not quiet:
        terminal.note(f"{retriever.name}; {result.about['queries']:,} queries among {result.about['candidates']:,}, "
                      f"lists of {result.about['k']}; relevant: shares the attribute; diversity of "
                      f"{space.source}")  # fmt: skip


def _load(release: str, features: Path | None) -> tuple["Dataset", "Features"]:
    """A release with its features."""
    from vlkge.dataset import find_release, load_folder
    from vlkge.features import load_features

    folder, revision = find_release(release)
    dataset = load_folder(folder, revision)
    found = load_features(features or features_folder(folder))
    for modality in found.values():
        modality.require_match(dataset)
    return dataset, found


def _vectors(
    release: str | None, features: Path | None, run: Path | None, modality: "Modality | None"
) -> tuple["Dataset", "EntityVectors", "EntityVectors"]:
    """The graph, the vectors that are asked about, and those of its encoder, to measure all retrievers by."""
    from vlkge.entity_vectors import encoded_vectors, fused_vectors
    from vlkge.run import load_run

    if run is not None:
        if features is not None or modality is not None:
            raise UsageError("--run brings its own vectors; leave --features and --modality out")
        trained = load_run(run)
        fused = fused_vectors(trained)
        space = encoded_vectors(trained.dataset, trained.features) if trained.features else fused
        return trained.dataset, fused, space
    if release is None:
        raise UsageError("give a RELEASE, whose encoder's vectors are taken, or --run RUN for a run's")
    dataset, found = _load(release, features)
    chosen = encoded_vectors(dataset, found, modality)
    return dataset, chosen, chosen
