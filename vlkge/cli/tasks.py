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
    from vlkge.retrieve import Related
    from vlkge.run import Run

app = typer.Typer()

FeaturesFolder = Annotated[
    Path | None, typer.Option("--features", help="What `vlkge encode` wrote; default: its default place.")
]
ReleaseOrNone = Annotated[
    str | None, typer.Argument(metavar="[RELEASE]", help="A release folder, or ORG/NAME[@REV]; not with --run.")
]
OfRun = Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The fused vectors of a run instead.")]
OfModality = Annotated[
    Literal["image", "text"] | None,
    typer.Option(help="Whose vectors, of a release; default: image where there is one."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]


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
    dataset, held, trained = _open(release, features, run)
    names = list(dict.fromkeys(of or choose_relations(dataset)))
    info = dataset.relation_info
    kinds = dict.fromkeys(info[name].domain if name in info else dataset.unseen_type for name in names)
    if len(kinds) > 1:
        raise UsageError(f"--of: {' and '.join(map(str, kinds))} have vectors of their own; ask for one type at a time")
    (kind,) = kinds
    vectors = _vectors(dataset, held, trained, modality, kind)
    folder = find_release(release)[0] if release else None
    tasks = [
        literal_task(dataset, folder, vectors.present, name, rules)
        if folder and name not in dataset.relations else relation_task(dataset, vectors.present, name, rules)
        for name in names
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
        list[str] | None,
        typer.Option(help="A relation whose shared tail is relevance; repeat it. Default: common ones."),
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
    from vlkge.entity_vectors import vectors_of_type
    from vlkge.retrieve import (
        Request,
        by_cosine,
        by_relation,
        choose_attributes,
        choose_type,
        common_attributes,
        related,
        retrieve,
    )

    if relation and (run is None or approximate):
        raise UsageError("--relation asks the scorer of a --run, exactly; leave --approximate out")
    if kind and (of or relation):
        raise UsageError("--type is said already, by the entity of --of or by --relation; leave it out")
    dataset, held, trained = _open(release, features, run)
    kind = _kind(dataset, of, relation) or choose_type(dataset, kind)
    attributes = choose_attributes(dataset, kind, attribute)
    vectors = _vectors(dataset, held, trained, modality, kind)
    retriever = by_relation(trained, relation) if trained and relation else by_cosine(vectors, approximate)
    if of is not None:
        _show_nearest(of, related(dataset, retriever, attributes, of, top), as_json)
        if not quiet:
            terminal.note(retriever.name)
        return
    attributes = attributes if attribute else common_attributes(dataset, retriever, attributes, kind)
    space = vectors_of_type(dataset, held, kind) if trained else vectors
    with terminal.progress_bar(quiet):
        result = retrieve(dataset, retriever, space or vectors, attributes, Request(kind, split, pool, top, seed))
    if as_json:
        terminal.show_json(result.to_json())
        return
    terminal.show_table(f"Related {kind}: {dataset.name} {dataset.version}, {split} split",
                        ("attribute", "metric", "retrieved", "random order"), result.rows())  # fmt: skip
    if not quiet:
        terminal.note(f"{retriever.name}; {result.about['queries']:,} queries among {result.about['candidates']:,}, "
                      f"lists of {result.about['k']}; relevant: shares the attribute; diversity by "
                      f"{result.about['diversity_by']}")  # fmt: skip


def _kind(dataset: "Dataset", entity: str | None, relation: str | None) -> str | None:
    """The type that an entity, or the heads of a relation, are of."""
    domain = None
    if relation is not None:
        dataset.relation_index(relation)
        domain = dataset.relation_info[relation].domain
    if entity is None:
        return domain
    kind = dataset.types[dataset.entity_index(entity)]
    if domain not in (None, kind):
        raise UsageError(f"{relation} starts at entities of type {domain!r}, {entity} is of type {kind!r}")
    return kind


def _show_nearest(entity: str, found: "list[Related]", as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        terminal.show_json([asdict(one) for one in found])
        return
    terminal.show_table(f"Nearest to {entity}", ("rank", "label", "entity", "score", "shares"),
                        [(r.rank, r.label, r.entity, r.score, ", ".join(r.shares)) for r in found])  # fmt: skip


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


def _open(release: str | None, features: Path | None, run: Path | None) -> tuple["Dataset", "Features", "Run | None"]:
    """A release with its features, or a run with its own."""
    from vlkge.run import find_run

    if run is not None:
        if release is not None or features is not None:
            raise UsageError("--run brings its own graph and vectors; leave RELEASE and --features out")
        trained = find_run(run)
        return trained.dataset, trained.features, trained
    if release is None:
        raise UsageError("give a RELEASE, whose encoder's vectors are taken, or --run RUN for a run's")
    return *_load(release, features), None


def _vectors(
    dataset: "Dataset", features: "Features", run: "Run | None", modality: "Modality | None", kind: str | None
) -> "EntityVectors":
    """A run's vectors, or those of an encoder."""
    from vlkge.entity_vectors import encoded_vectors, fused_vectors, vectors_of_type

    if run is not None:
        if modality is not None:
            raise UsageError("a --run's vectors are fused of all modalities; leave --modality out")
        return fused_vectors(run)
    found = encoded_vectors(dataset, features, modality) if modality else vectors_of_type(dataset, features, kind)
    if found is None:
        raise UsageError(f"no entity of type {kind} has a vector in these features, neither of a picture nor of a text")
    return found
