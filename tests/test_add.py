"""A newer release joins a trained run: what was learned stays bit for bit, and what each way costs and gains."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mkg_builder.errors import UsageError
from tests import painted
from tests.test_vlkge_cli import told, vlkge
from vlkge.additions import find_additions, merge_features
from vlkge.config import TrainingConfig
from vlkge.dataset import load_folder
from vlkge.encode import encode_release
from vlkge.errors import FeaturesError, RunError
from vlkge.evaluate import Evaluator, evaluate_run
from vlkge.export import export_run
from vlkge.features import load_features
from vlkge.growth import Joined, Plan, join
from vlkge.negatives import TripleSet
from vlkge.predict import Outside, Predictor
from vlkge.protocol import Strict
from vlkge.rows import _Rivals
from vlkge.run import Run, load_run
from vlkge.scores import ModelScores
from vlkge.train import fit

EPOCHS = 30


class Room:
    """Two releases of the painted world, their features, and a run on the older one."""

    def __init__(self, place: Path, *settings: str) -> None:
        self.place = place
        self.old = painted.write_release(place / "old", "1.0.0", whole=False)
        self.new = painted.write_release(place / "new", "1.1.0", whole=True)
        self.features = place / "features-new"
        self.run = painted.train_run(place / "run", self.old, place / "features-old", 30, *settings)
        encode_release(self.new, painted.ENCODERS, self.features)

    def join(self, name: str, epochs: int = 0, **changes: object) -> Joined:
        plan = replace(Plan(str(self.new), self.features, self.place / name, epochs), **changes)
        return join(self.run, plan, lambda *_: None)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Room:
    return Room(tmp_path_factory.mktemp("add"))


@pytest.fixture(scope="module")
def plain(room: Room) -> Joined:
    return room.join("plain")


@pytest.fixture(scope="module")
def taught(room: Room) -> Joined:
    return room.join("taught", EPOCHS)


def test_what_joined_is_counted_by_type_and_by_split(plain: Joined) -> None:
    assert plain.entities == {"artist": 1, "artwork": 29}
    new, old = load_folder(Path(plain.run.experiment.dataset)), plain.run.parent["dataset"]["version"]
    assert (old, new.version) == ("1.0.0", "1.1.0")
    rows = {split: painted.facts()[split] for split in ("train", "validation", "test")}
    late = {split: sum(painted.late(h) or painted.late(t) for h, _, t in facts) for split, facts in rows.items()}
    assert plain.triples == late
    assert (plain.learned, plain.unknown) == ({}, {"artist": 1})


@pytest.mark.parametrize("name", ["plain", "taught"])
def test_the_vectors_of_what_was_there_do_not_move_by_a_bit(room: Room, name: str, request) -> None:
    joined, before = request.getfixturevalue(name), room.run.load_model()
    after, added = joined.run.load_model(), find_additions(room.run.dataset, joined.run.dataset)
    everything = torch.arange(len(room.run.dataset.entities))
    assert [joined.run.dataset.entities[place] for place in added.places] == list(room.run.dataset.entities)
    with torch.no_grad():
        assert torch.equal(before.represent(everything), after.represent(added.places))
    assert torch.equal(before.relations, after.relations)
    frozen = {key for key in before.state_dict() if key not in ("real.modalities.structural.weight",
                                                                "imaginary.free.weight")}  # fmt: skip
    assert all(torch.equal(before.state_dict()[key], after.state_dict()[key]) for key in frozen)


def test_each_way_costs_more_and_gains_more_and_the_former_metrics_do_not_move(
    room: Room, plain: Joined, taught: Joined
) -> None:
    assert plain.before == plain.after == taught.after == evaluate_run(room.run, "test", Strict()).model
    assert plain.untrained == taught.untrained
    began = time.perf_counter()
    full = painted.train_run(room.place / "full", room.new, room.features, 30)
    spent = time.perf_counter() - began
    whole = _of_new(full, room)
    by_hand = _of_new(plain.run, room), _of_new(taught.run, room)
    told = plain.untrained.relations["isBy"].mrr, taught.trained.relations["isBy"].mrr
    assert by_hand == pytest.approx(told)
    chance = plain.untrained.relations["isBy"].candidates
    assert 3 / chance < by_hand[0] < by_hand[1]  # works of known painters are told, those of the new one are not
    assert by_hand[1] > whole - 0.1
    assert plain.seconds < taught.seconds < spent


def _of_new(run: Run, room: Room) -> float:
    """The MRR of the new test triples of `isBy`, counted one by one."""
    dataset = run.dataset
    new = {f for f in painted.facts()["test"] if f[1] == "isBy" and (painted.late(f[0]) or painted.late(f[2]))}
    evaluator = Evaluator(dataset, "test", Strict())
    ranks = evaluator.rank(ModelScores(run.load_model(), evaluator.entities()))
    found = []
    for group, part in zip(evaluator.groups, ranks, strict=True):
        tails = group.candidates[group.targets].tolist()
        for head, tail, rank in zip(group.anchors.tolist(), tails, part.realistic.tolist(), strict=True):
            fact = dataset.entities[head], dataset.relations[group.relation], dataset.entities[tail]
            found += [1 / rank] if fact in new else []
    assert len(found) == len(new)
    return sum(found) / len(found)


def test_the_new_painter_has_a_vector_after_the_epochs_and_none_before(plain: Joined, taught: Joined) -> None:
    place = torch.tensor([plain.run.dataset.entity_index("artist:painter-07")])
    assert not plain.run.load_model().real.has_any(place)
    assert taught.run.load_model().real.has_any(place)
    assert (taught.learned, taught.unknown) == ({"artist": 1}, {})
    assert taught.run.parent["unlearned"] == []
    assert plain.run.parent["unlearned"][0] == "artist:painter-07"


def test_a_new_vector_does_not_answer_for_everybody(taught: Joined) -> None:
    dataset, scores = (
        taught.run.dataset,
        ModelScores(taught.run.load_model(), torch.arange(len(taught.run.dataset.entities))),
    )
    heads = [h for h, r, _ in painted.facts()["test"] if r == "isBy" and not painted.late(h)]
    tails = torch.tensor([dataset.entity_index(f"artist:painter-{i:02d}") for i in range(painted.PAINTERS)])
    anchors = torch.tensor([dataset.entity_index(head) for head in heads])
    first = scores.score("tail", dataset.relation_index("isBy"), anchors, tails).argmax(1)
    assert (first == 7).double().mean() < 0.1


def test_rivals_are_wrong_answers_drawn_as_often_as_a_whole_training_draws_them() -> None:
    train = torch.tensor([[head, 0, 20 + head % 4] for head in range(20)] + [[20, 0, 21]])
    owners = torch.zeros(24, dtype=torch.bool)
    owners[23] = True
    settings = TrainingConfig(negatives=2)
    rivals = _Rivals(train, owners, TripleSet(train, 24, 1), 1, settings, both=False)
    parts = rivals.draw(torch.Generator().manual_seed(0), 3)
    positives = torch.cat([positives for positives, _ in parts])
    assert len(positives) == round(2 * 1 / 4 * 16)  # 16 triples name nobody new; one of 4 answers is new, 2 are drawn
    assert not (positives[:, 2] == 23).any()
    assert all((one.entities == 23).all() and one.valid.all() and not one.heads.any() for _, one in parts)
    everything = TripleSet(torch.cartesian_prod(torch.arange(24), torch.tensor([0]), torch.arange(24)), 24, 1)
    rivals = _Rivals(train, owners, everything, 1, settings, both=False)
    assert not any(one.valid.any() for _, one in rivals.draw(torch.Generator().manual_seed(0), 3))


def test_a_joined_run_evaluates_predicts_and_explains_like_any_other(taught: Joined, tmp_path: Path) -> None:
    (tmp_path / "new.png").write_bytes(painted.picture(7, 50))
    predictor = Predictor(load_run(taught.run.folder))
    found = predictor.tails_of_outside(Outside(tmp_path / "new.png"), "isBy", top=3)
    assert "artist:painter-07" in [answer.entity for answer in found]
    assert evaluate_run(taught.run, "test", Strict()).about["dataset"]["version"] == "1.1.0"


def test_a_joined_run_is_resumed_on_all_of_the_newer_graph(room: Room) -> None:
    run = load_run(room.join("to-resume", 2).run.folder)
    assert [record["epoch"] for record in run.progress["history"]] == [1, 2]
    before = run.load_model().relations.clone()
    more = list(fit(run, 4))
    assert [record.epoch for record in more] == [3, 4]
    again = load_run(run.folder)
    assert again.progress["epoch"] == 4
    assert again.parent == run.parent
    assert any(record.best for record in more) == (not torch.equal(before, again.load_model().relations))


def test_a_run_that_nothing_was_trained_of_is_resumed_from_its_weights(room: Room) -> None:
    run = load_run(room.join("untrained").run.folder)
    assert run.progress["history"][0]["epoch"] == 0
    weights, checkpoint = run.load_model().state_dict(), run.load_checkpoint()
    assert all(torch.equal(tensor, checkpoint[f"model.{name}"]) for name, tensor in weights.items())
    assert [record.epoch for record in fit(run, 1)] == [1]


def test_the_record_names_the_parent_and_is_sealed(room: Room, plain: Joined, tmp_path: Path) -> None:
    parent = plain.run.parent
    assert parent["folder"] == str(room.run.folder)
    assert parent["weights_sha256"] == room.run.record["weights"]["sha256"]
    assert parent["grown_to"]["version"] == "1.1.0"
    path = plain.run.folder / "parent.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"epochs":0', b'"epochs":9'))
    with pytest.raises(RunError, match=r"parent\.json is altered"):
        load_run(plain.run.folder)
    path.write_bytes(whole)


def test_a_grown_run_grows_again(room: Room, plain: Joined) -> None:
    splits = painted.facts()
    splits["train"].append(("artist:painter-99", "belongsTo", "style:style-0"))
    newest = painted.write_release(room.place / "newest", "1.2.0", whole=True, splits=splits)
    encode_release(newest, painted.ENCODERS, room.place / "features-newest")
    plan = Plan(str(newest), room.place / "features-newest", room.place / "grandchild", 3)
    joined = join(plain.run, plan, lambda *_: None)
    assert (joined.entities, joined.learned) == ({"artist": 1}, {"artist": 1})
    assert joined.before == joined.after
    # what the first joining left without a vector stays without: it is not new any more
    assert joined.run.parent["unlearned"] == plain.run.parent["unlearned"]
    added = find_additions(plain.run.dataset, joined.run.dataset)
    old, new = plain.run.load_model(), joined.run.load_model()
    with torch.no_grad():
        assert torch.equal(old.represent(torch.arange(len(added.places))), new.represent(added.places))


SETTINGS = [
    ("model.scorer=transe", "model.fusion=gated", "model.structural=own"),
    ("model.scorer=rotate", "model.fusion=weighted", "model.structural=masked", "model.reciprocal=true"),
    ("model.scorer=distmult", "model.fusion=concat", "model.modalities=[image, text]"),
    ("training.loss=softmax", "training.negatives=all", "training.regularizer=n3", "training.regularizer_weight=0.1"),
    ("model.imaginary=fused", "training.share_negatives=true", "training.corrupt=both", "model.normalise=l2"),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings[0])
def test_nothing_moves_whatever_the_model_and_the_way_of_learning(settings, tmp_path: Path, room: Room) -> None:
    run = painted.train_run(tmp_path / "run", room.old, room.place / "features-old", 2, *settings)
    joined = join(run, Plan(str(room.new), room.features, tmp_path / "grown", 2), lambda *_: None)
    added = find_additions(run.dataset, joined.run.dataset)
    old, new = run.load_model(), joined.run.load_model()
    with torch.no_grad():
        assert torch.equal(old.represent(torch.arange(len(added.places))), new.represent(added.places))
    assert joined.before == joined.after
    assert joined.learned.get("artist", 0) == ("modalities" not in settings[-1])


@pytest.mark.parametrize("reciprocal", ["true", "false"])
def test_a_graph_whose_heads_are_asked_for_too_grows(reciprocal: str, tmp_path: Path) -> None:
    old, new = (
        painted.write_release(tmp_path / version, version, whole, policy="transductive")
        for version, whole in (("1.0.0", False), ("1.1.0", True))
    )
    run = painted.train_run(tmp_path / "run", old, tmp_path / "old", 2, f"model.reciprocal={reciprocal}")
    encode_release(new, painted.ENCODERS, tmp_path / "new")
    joined = join(run, Plan(str(new), tmp_path / "new", tmp_path / "grown", 2), lambda *_: None)
    assert joined.before == joined.after == evaluate_run(run, "test", Strict()).model
    assert joined.before.overall.queries == 2 * len(run.dataset.triples["test"])


def changed(room: Room, name: str, version: str = "2.0.0", **replaced) -> Path:
    """A newer release in which something that was there is another."""
    splits = painted.facts()
    for split, rows in replaced.items():
        splits[split] = rows(splits[split])
    return painted.write_release(room.place / name, version, whole=True, splits=splits)


@pytest.mark.parametrize(
    ("version", "replaced", "said"),
    [
        ("2.0.0", {"train": lambda rows: rows[1:]}, "1 triples removed or moved to another split"),
        ("2.0.0", {"train": lambda rows: [r for r in rows if r[0] != "artwork:03-0"]}, "1 entities removed"),
        ("1.1.0", {"train": lambda rows: [*rows, ("artist:painter-00", "wasBorn", "style:style-0")]},
         "1 relations added, of which nothing is learned"),
        ("1.1.0", {"train": lambda rows: [r for r in rows if r[1] != "belongsTo"]}, "1 relations removed"),
        ("0.9.0", {}, "is the earlier 0.9.0"),
    ],
)  # fmt: skip
def test_what_does_not_only_add_is_refused_with_counts(room: Room, version: str, replaced: dict, said: str) -> None:
    release = changed(room, f"changed-{len(list(room.place.iterdir()))}", version, **replaced)
    with pytest.raises(UsageError) as refused:
        room.join("refused", release=str(release))
    assert said in str(refused.value)
    assert not (room.place / "refused").exists()


def test_a_changed_picture_is_refused_and_rounding_is_not(room: Room) -> None:
    old, new = room.run.features, load_features(room.features)
    before, after = room.run.dataset, load_folder(room.new)
    vectors = new["image"].vectors.copy()
    place = new["image"].ids.index(old["image"].ids[0])
    for factor, fits in ((1 + 1e-6, True), (1.1, False)):
        vectors[place] = new["image"].vectors[place] * np.float32(factor)
        given = {**new, "image": replace(new["image"], vectors=vectors)}
        if fits:
            merged = merge_features(old, given, before, after)[0]
            assert np.array_equal(merged.align(old["image"].ids)[0], old["image"].vectors)
        else:
            with pytest.raises(UsageError, match="1 image vectors changed"):
                merge_features(old, given, before, after)


@pytest.mark.parametrize("came", [True, False])
def test_a_text_that_came_or_went_is_a_change(room: Room, came: bool) -> None:
    old, new = room.run.features["text"], load_features(room.features)["text"]
    less = replace(old, ids=old.ids[1:], vectors=old.vectors[1:]) if came else old
    fewer = [place for place, entity in enumerate(new.ids) if came or entity != old.ids[0]]
    given = replace(new, ids=tuple(new.ids[place] for place in fewer), vectors=new.vectors[fewer])
    with pytest.raises(UsageError, match="1 text vectors changed"):
        merge_features({"text": less}, {"text": given}, room.run.dataset, load_folder(room.new))


def test_features_of_another_encoder_are_refused_with_what_to_type(room: Room) -> None:
    encode_release(room.new, ("tests.test_predict:MeanColor", painted.ENCODERS[1]), room.place / "others")
    with pytest.raises(FeaturesError, match=r"run's of tests.painted:Colour .*vlkge encode RELEASE --encoder"):
        room.join("refused", features=room.place / "others")
    with pytest.raises(FeaturesError, match="name the folder"):
        room.join("refused", features=None)


def test_a_release_with_nothing_new_and_a_place_that_is_taken_are_refused(room: Room, plain: Joined) -> None:
    with pytest.raises(UsageError, match="holds nothing that"):
        room.join("refused", release=str(room.old))
    with pytest.raises(UsageError, match="exists; name another folder with --out, or replace it with --overwrite"):
        room.join("plain")
    with pytest.raises(UsageError, match="is the run itself"):
        room.join("run", overwrite=True)


def test_an_old_entity_that_gets_its_first_train_triple_keeps_its_vector(room: Room, tmp_path: Path) -> None:
    splits = painted.facts()
    splits["validation"].append(("artist:painter-98", "belongsTo", "style:style-0"))
    old = painted.write_release(tmp_path / "old", "1.0.0", whole=False, splits=splits)
    run = painted.train_run(tmp_path / "run", old, tmp_path / "features", 1)
    splits["train"].append(("artist:painter-98", "knows", "artist:painter-00"))
    new = painted.write_release(tmp_path / "new", "1.1.0", whole=True, splits=splits)
    encode_release(new, painted.ENCODERS, tmp_path / "features-new")
    joined = join(run, Plan(str(new), tmp_path / "features-new", tmp_path / "grown", 1), lambda *_: None)
    assert joined.run.parent["unlearned"] == ["artist:painter-98"]
    assert joined.before == joined.after


def test_the_command_says_what_joined_and_what_did_not_move(room: Room) -> None:
    done = vlkge("add", "run", "new", "--out", "by-command", "--features", "features-new", cwd=room.place)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "run: by-command")
    assert "nothing is known of 1 artist" in done.stderr
    arguments = ("add", "run", "new", "--out", "by-command", "--features", "features-new", "--epochs", 2)
    found = told(*arguments, "--overwrite", cwd=room.place)
    assert found["before"] == found["after"]
    assert (found["entities"], found["learned"]) == ({"artist": 1, "artwork": 29}, {"artist": 1})
    assert set(found["trained"]["relations"]) == set(found["untrained"]["relations"])
    assert json.loads((room.place / "by-command" / "parent.json").read_text())["epochs"] == 2
    assert told("evaluate", "by-command", cwd=room.place)["dataset"]["version"] == "1.1.0"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--features", "features-old"), 4, "encode that release with: vlkge encode"),
        ((), 4, "name the folder (--features)"),
    ],
)
def test_a_mistake_is_one_line(room: Room, options: tuple[str, ...], code: int, said: str) -> None:
    done = vlkge("add", "run", "new", "--out", "nowhere", *options, cwd=room.place)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


def test_a_grown_run_is_given_away_without_telling_where_its_parent_lay(room: Room, plain: Joined) -> None:
    folder = export_run(plain.run, room.place / "export").folder
    given = load_run(folder)
    assert given.parent == {**plain.run.parent, "folder": "run"}
    assert not [path for path in folder.rglob("*") if path.is_file() and str(room.place).encode() in path.read_bytes()]
    assert torch.equal(given.learned(), plain.run.learned())
