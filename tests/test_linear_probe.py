"""Linear probes: as good as scikit-learn's models, measured by its metrics, beside what needs no vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, mean_absolute_error, r2_score, root_mean_squared_error

from mkg_builder import schema
from mkg_builder.errors import UnknownNameError, UsageError
from tests.test_vlkge_cli import told, vlkge
from tests.tiny_release import picture_bytes, write_manifest, write_tiny_release
from tests.vlkge_contracts import make_dataset
from vlkge.errors import FeaturesError
from vlkge.named_numbers import read_number
from vlkge.probe import _members, choose_relations, relation_task, run_task
from vlkge.tasks.linear_probe import PROTOCOLS, Examples, find_protocol, measure, train_probe
from vlkge.tasks.targets import Classes, Labels, Number

STRICT, REFERENCE = replace(PROTOCOLS["strict"], learning_rate=1e-2), PROTOCOLS["reference"]
COUNT, SIZE = 600, 8
ROWS = torch.arange(COUNT).split([300, 150, 150])


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """Vectors of uneven scale, and the outputs of an unknown layer over them."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(COUNT, SIZE, generator=generator) * torch.logspace(-1, 1, SIZE) + 3
    hidden = (vectors - 3) / torch.logspace(-1, 1, SIZE) @ torch.randn(SIZE, 5, generator=generator)
    return vectors, hidden + torch.randn(COUNT, 5, generator=generator), generator


def examples(answers: torch.Tensor) -> list[Examples]:
    return [Examples(rows, answers[rows]) for rows in ROWS]


def test_classes_are_told_as_well_as_by_scikit_learns_logistic_regression() -> None:
    vectors, hidden, _ = drawn(0)
    train, validation, test = examples(hidden.argmax(1))
    probe = train_probe(Classes(5), vectors, (train, validation), STRICT)
    scaled = ((vectors - vectors[train.rows].mean(0)) / vectors[train.rows].std(0)).numpy()
    peer = LogisticRegression(max_iter=500).fit(scaled[train.rows], train.answers.numpy())
    expected = peer.score(scaled[test.rows], test.answers.numpy())
    assert measure(Classes(5), probe, vectors, test)["accuracy"] == pytest.approx(expected, abs=0.03)
    agreeing = probe.outputs(vectors, test.rows).argmax(1).numpy() == peer.predict(scaled[test.rows])
    assert agreeing.mean() > 0.93


def test_a_number_is_told_as_well_as_by_least_squares_and_measured_as_scikit_learn_does() -> None:
    vectors, hidden, _ = drawn(1)
    train, validation, test = examples(hidden[:, 0] * 40 + 1800)
    target = Number(train.answers, "zscore")
    probe = train_probe(target, vectors, (train, validation), STRICT)
    found = measure(target, probe, vectors, test)
    peer = LinearRegression().fit(vectors[train.rows].numpy(), train.answers.numpy())
    said, true = peer.predict(vectors[test.rows].numpy()), test.answers.numpy()
    assert found["R2"] == pytest.approx(r2_score(true, said), abs=0.01)
    read = target.read(probe.outputs(vectors, test.rows)).numpy()
    assert found["MAE"] == pytest.approx(mean_absolute_error(true, read), rel=1e-5)
    assert found["RMSE"] == pytest.approx(root_mean_squared_error(true, read), rel=1e-5)


@pytest.mark.parametrize("scaling", ["none", "minmax", "zscore"])
def test_a_number_is_read_back_from_its_scale(scaling: str) -> None:
    target = Number(torch.tensor([1800.0, 1850.0, 1900.0]), scaling)
    outputs = {"none": 1850.0, "minmax": 0.5, "zscore": 0.0}[scaling]
    assert target.read(torch.tensor([[outputs]])).item() == 1850.0
    assert target.losses(torch.tensor([[outputs]]), torch.tensor([1850.0])).item() == 0.0
    assert target.read(torch.tensor([[99.0]])).item() == {"none": 99.0, "minmax": 1900.0}.get(
        scaling, pytest.approx(5891.5, abs=1)
    )


def test_labels_are_measured_as_scikit_learn_does() -> None:
    vectors, hidden, _ = drawn(2)
    train, validation, test = examples(hidden > 1)
    target = Labels(5)
    probe = train_probe(target, vectors, (train, validation), STRICT)
    found = measure(target, probe, vectors, test)
    scores, true = probe.outputs(vectors, test.rows).numpy(), test.answers.numpy()
    some = true.any(1)
    instances = [average_precision_score(a, s) for a, s in zip(true[some], scores[some], strict=True)]
    assert found["instance mAP"] == pytest.approx(np.mean(instances))
    assert found["macro mAP"] == pytest.approx(average_precision_score(true, scores, average="macro"))
    assert found["micro mAP"] == pytest.approx(average_precision_score(true.ravel(), scores.ravel()))
    assert (
        found["micro mAP"] > 0.8 > 0.4 > target.measure(target.baseline(train.answers, 150), test.answers)["micro mAP"]
    )


def test_the_best_validation_epoch_is_kept_and_training_stops_when_it_gets_no_better() -> None:
    vectors, hidden, _ = drawn(3)
    train, validation, _ = examples(hidden.argmax(1))
    told: list[int] = []
    protocol = replace(STRICT, learning_rate=0.3)
    probe = train_probe(Classes(5), vectors, (train, validation), protocol, 0, lambda done, _: told.append(done))
    assert told[-1] == probe.epoch + protocol.patience < protocol.epochs
    shorter = train_probe(Classes(5), vectors, (train, validation), replace(protocol, epochs=probe.epoch))
    assert torch.equal(shorter.layer.weight, probe.layer.weight)


def test_the_reference_protocol_is_the_papers_optimiser_on_vectors_as_they_are() -> None:
    vectors, hidden, _ = drawn(4)
    train, validation, _ = examples(hidden.argmax(1))
    told: list[int] = []
    probe = train_probe(Classes(5), vectors, (train, validation), REFERENCE, 7, lambda done, _: told.append(done))
    assert told == list(range(1, 101))
    assert (probe.shift.abs().sum(), probe.scale.unique().tolist()) == (0, [1.0])
    with torch.random.fork_rng():
        torch.manual_seed(7)
        layer = torch.nn.Linear(SIZE, 5)
    optimiser, best = torch.optim.Adam(layer.parameters(), lr=1e-3), (-1.0, layer.weight)
    for _ in range(100):  # 300 examples are one batch of 512, whose order does not matter
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(layer(vectors[train.rows]), train.answers).backward()
        optimiser.step()
        right = (layer(vectors[validation.rows]).argmax(1) == validation.answers).double().mean().item()
        best = max(best, (right, layer.weight.detach().clone()), key=lambda pair: pair[0])
    torch.testing.assert_close(probe.layer.weight, best[1], atol=1e-5, rtol=1e-4)


def test_the_same_seed_gives_the_same_probe_and_another_hardly_another() -> None:
    vectors, hidden, _ = drawn(5)
    train, validation, test = examples(hidden.argmax(1))
    a, b, c = (train_probe(Classes(5), vectors, (train, validation), STRICT, seed) for seed in (0, 0, 1))
    assert torch.equal(a.layer.weight, b.layer.weight)
    answers = [probe.outputs(vectors, test.rows).argmax(1) for probe in (a, c)]
    assert (answers[0] == answers[1]).float().mean() > 0.9


def test_a_constant_component_is_left_out() -> None:
    vectors, hidden, _ = drawn(6)
    vectors[:, 0] = 5.0
    train, validation, _ = examples(hidden.argmax(1))
    probe = train_probe(Classes(5), vectors, (train, validation), replace(STRICT, epochs=2))
    assert probe.outputs(vectors, train.rows).isfinite().all()


ART = [f"artwork:{i:02d}" for i in range(40)]


def graph(**relations: list[str]):
    """Artworks with one list of tails per relation; the last ten are the test split."""
    facts = [(art, name, tails[i % len(tails)]) for name, tails in relations.items() for i, art in enumerate(ART)]
    extra = [(art, "hasTag", "tag:all") for art in ART] if "hasTag" in relations else []
    facts = list(dict.fromkeys(facts + extra))
    splits = {"train": ART[:25], "validation": ART[25:30], "test": ART[30:]}
    dataset = make_dataset({name: [f for f in facts if f[0] in arts] for name, arts in splits.items()})
    return replace(dataset, labels=tuple(entity.partition(":")[2] for entity in dataset.entities))


EVERYTHING = graph(
    hasStyle=["style:a", "style:b"], hasTag=["tag:x", "tag:y"], madeIn=["year:1871", "year:1900"],
    inPeriod=["span:1850-1900", "span:1900-1950"], near=["artwork:03"],
)  # fmt: skip
HAVE = torch.tensor([entity.startswith("artwork") for entity in EVERYTHING.entities])


def test_what_is_read_follows_from_the_graph() -> None:
    names = choose_relations(EVERYTHING)
    kinds = {name: relation_task(EVERYTHING, HAVE, name, STRICT).target.kind for name in names}
    assert kinds == {"hasStyle": "class", "hasTag": "labels", "madeIn": "number", "inPeriod": "class"}
    with pytest.raises(UsageError, match="--of RELATION"):
        choose_relations(replace(EVERYTHING, unseen_type=None))


def test_an_answer_that_train_does_not_have_counts_as_wrong_and_an_artwork_without_a_vector_not_at_all() -> None:
    dataset = graph(hasStyle=["style:a"] * 39 + ["style:new"])
    present = torch.tensor([entity.startswith("artwork") and entity != "artwork:38" for entity in dataset.entities])
    task = relation_task(dataset, present, "hasStyle", STRICT)
    result = run_task(task, torch.randn(len(dataset.entities), 3), replace(STRICT, epochs=1), 0, lambda *_: None)
    assert (result.answers, result.examples["test"]) == (1, 9)
    assert result.metrics["accuracy"] == result.baseline["accuracy"] == pytest.approx(8 / 9)


def test_an_entity_of_several_splits_is_an_example_of_the_first_alone() -> None:
    both = ("artwork:1", "by", "artist:a"), ("artwork:1", "by", "artist:b")
    dataset = make_dataset({"train": [both[0]], "test": [both[1], ("artwork:2", "by", "artist:a")]})
    members = {split: mine.nonzero()[:, 0].tolist() for split, mine in _members(dataset).items()}
    assert members == {"train": [2], "validation": [], "test": [3]}


def test_what_cannot_be_asked_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="'hasStyle'"):
        relation_task(EVERYTHING, HAVE, "hasStile", STRICT)
    with pytest.raises(UnknownNameError, match="'reference'"):
        find_protocol("referense")
    with pytest.raises(FeaturesError, match="no train example of hasStyle has a vector"):
        relation_task(EVERYTHING, ~HAVE, "hasStyle", STRICT)
    new = EVERYTHING.triples["test"].clone()
    tags = torch.tensor([EVERYTHING.types[tail] == "tag" for tail in new[:, 2]])
    new[tags, 2] = EVERYTHING.entity_index("style:a")
    strangers = replace(EVERYTHING, triples={**EVERYTHING.triples, "test": new})
    with pytest.raises(FeaturesError, match="no test example of hasTag with a tail that train knows"):
        relation_task(strangers, HAVE, "hasTag", STRICT)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1889", (1889.0, False)),
        ("1850-1900", (1875.0, True)),
        ("-50", (-50.0, False)),
        ("c. 1889", None),
        ("", None),
        ("1885-90", (1887.5, True)),
        ("1889/90", (1889.5, True)),
        ("1905–06", (1905.5, True)),
        ("1889-06", (1889.0, False)),
        ("1889-85", None),
        ("-50–-10", (-30.0, True)),
        ("1900-1850", None),
        ("10-5", None),
    ],
)
def test_numbers_are_read_and_spans_are_their_middle(text: str, number: tuple[float, bool] | None) -> None:
    assert read_number(text) == number


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose pictures are as bright as their year, with features and a run."""
    place = tmp_path_factory.mktemp("probe")
    facts = [(art, "hasStyle", f"style:{'ab'[i % 2]}") for i, art in enumerate(ART)]
    pictures = {art: picture_bytes(i) for i, art in enumerate(ART)}
    splits = {"train": facts[:25], "validation": facts[25:30], "test": facts[30:]}
    release = write_tiny_release(place / "release", splits, pictures)
    said = [{"entity": art, "name": "year", "value": str(1800 + i), "source": "test"} for i, art in enumerate(ART)]
    path = release / schema.shard_path("literals", "full")
    pq.write_table(pa.Table.from_pylist(said, schema.arrow_schema("literals")), path, write_page_checksum=True)
    manifest = schema.read_manifest(release)
    write_manifest(release, {key: manifest[key] for key in ("name", "version", "marks", "recipe")})
    told("encode", "release", "--encoder", "color-texture", cwd=place)
    told("train", "--dataset", "release", "--dim", "8", "--epochs", "2", "--out", "run", cwd=place)
    return place


def test_the_command_reads_relations_and_literals(room: Path) -> None:
    result = told("probe", "release", "--of", "hasStyle", "--of", "year", "--scaling", "minmax", cwd=room)
    assert [(probe["target"], probe["kind"]) for probe in result["probes"]] == [
        ("hasStyle", "class"),
        ("year", "number"),
    ]
    assert result["vectors"] == "image vectors of color-texture"
    assert (result["protocol"]["name"], result["protocol"]["scaling"]) == ("strict", "minmax")
    assert result["probes"][1]["baseline"]["MAE"] == pytest.approx(22.5)


def test_the_command_reads_a_runs_vectors_and_prints_a_table(room: Path) -> None:
    done = vlkge("probe", "--run", "run", "--protocol", "reference", cwd=room)
    assert done.returncode == 0
    for word in ("hasStyle", "accuracy", "baseline"):
        assert word in done.stdout
    assert "fused vectors of run (structural+image)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("release", "--of", "hasStile"), 2, "'hasStyle'?"),
        (("release", "--of", "yer"), 2, "'year'?"),
        (("release", "--protocol", "strickt"), 2, "'strict'?"),
        (("release", "--modality", "text"), 2, "these features hold: image"),
        (("--run", "run", "--modality", "image"), 2, "leave --modality out"),
        (("--run", "nowhere"), 4, "is no run"),
        ((), 2, "give a RELEASE"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(room: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = vlkge("probe", *arguments, cwd=room)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
