"""Observed features: the weights of what is seen, against the same counted fact by fact; and all that scores by it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mkg_builder.errors import UsageError
from tests.vlkge_contracts import Fact, make_dataset, make_features, random_dataset
from vlkge.availability import evaluate_by_modality
from vlkge.config import ModelConfig, load_experiment
from vlkge.dataset import Dataset
from vlkge.errors import ExperimentError
from vlkge.evaluate import Evaluator, evaluate_run
from vlkge.explain import Explainer
from vlkge.export import export_run
from vlkge.growth import Plan, join
from vlkge.model import KGEModel, build_model
from vlkge.new_run import create_run
from vlkge.objective import Objective
from vlkge.observed import DEGREES, OBSERVED, ObservedFeatures
from vlkge.predict import Predictor
from vlkge.protocol import Strict
from vlkge.run import Run, load_run
from vlkge.scorers import REGISTRY as SCORERS
from vlkge.scores import ModelScores
from vlkge.train import fit, resolve
from vlkge.trainer import make_optimizer


def told(dataset: Dataset) -> Dataset:
    """The graph with texts: each entity's names the two that stand after it."""
    labels = [f"thing number {place}" for place in range(len(dataset.entities))]
    texts = [f"like {labels[place - 1]} and {labels[place - 2]}" for place in range(len(labels))]
    return replace(dataset, labels=tuple(labels), texts=tuple(texts))


def weighted(dataset: Dataset, names: tuple[str, ...] = OBSERVED) -> ObservedFeatures:
    """Observed features whose weights are all different."""
    made = ObservedFeatures(names, dataset).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return made


def counted(of: ObservedFeatures, dataset: Dataset, row: int, anchor: int, candidate: int) -> float:
    """What the score of one question and candidate gains, fact by fact."""
    half, entities = len(dataset.relations), len(dataset.entities)
    facts = [tuple(fact) for fact in dataset.triples["train"].tolist()]
    facts += [(t, r + half, h) for h, r, t in facts]
    total = 0.0
    others = sum(r == row and t == candidate and h != anchor for h, r, t in facts)
    total += of.degree[row, min(others, DEGREES - 1)].item()
    itself = {row, (row + half) % (2 * half)} if anchor == candidate else {row}
    total += sum(of.links[row, r].item() for h, r, t in facts if (h, t) == (anchor, candidate) and r not in itself)
    names = {(place, (place - back) % entities) for place in range(entities) for back in (1, 2)}
    names -= {(place, place) for place in range(entities)}
    total += of.mentions[row, 0].item() * ((anchor, candidate) in names)
    return total + of.mentions[row, 1].item() * ((candidate, anchor) in names)


def distinct(dataset: Dataset) -> Dataset:
    """The graph with each train triple once, as every release has it."""
    return replace(dataset, triples={**dataset.triples, "train": torch.unique(dataset.triples["train"], dim=0)})


@pytest.mark.parametrize("seed", range(25))
def test_what_is_seen_is_what_stands_in_the_graph(seed: int) -> None:
    dataset = told(distinct(random_dataset(seed)))
    of = weighted(dataset, tuple(name for bit, name in enumerate(OBSERVED) if (seed + 1) % 8 >> bit & 1) or OBSERVED)
    everything = torch.arange(len(dataset.entities))
    for row in range(2 * len(dataset.relations)):
        rows = torch.full_like(everything, row)
        expected = [[counted(of, dataset, row, a, c) for c in everything.tolist()] for a in everything.tolist()]
        found = of.among(rows, everything, everything.flip(0)).flip(1)
        torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=torch.float64))
        torch.testing.assert_close(of.of(rows[:, None], everything[:, None], everything[None]), found)


def test_of_one_outside_no_pair_is_seen_and_texts_may_be_left_unread() -> None:
    dataset = told(distinct(random_dataset(1)))
    of, alone = weighted(dataset), weighted(dataset, ("degree",))
    alone.degree.data = of.degree.data
    everything = torch.arange(len(dataset.entities))
    outside = of.among(torch.tensor([0]), torch.tensor([-1]), everything)
    assert torch.equal(outside[0], alone.degree[0, alone.counts[0].clamp(max=DEGREES - 1).long()])
    of.mentions.data.zero_()
    unread = of.among(torch.zeros_like(everything), everything, everything)
    read_not = weighted(dataset)
    read_not.degree.data, read_not.links.data = of.degree.data, of.links.data
    assert torch.equal(read_not.among(torch.zeros_like(everything), everything, everything, read=False), unread)


def test_gradients_are_those_of_finite_differences() -> None:
    dataset = told(distinct(random_dataset(2)))
    of, everything = weighted(dataset), torch.arange(len(dataset.entities))
    rows = everything % of.rows

    def gains(*weights: Tensor) -> Tensor:
        of.degree, of.links, of.mentions = weights
        among, pairs = of.among(rows, everything, everything), of.of(rows, everything, everything.flip(0))
        return torch.cat([among.flatten(), pairs])

    weights = [parameter.detach().requires_grad_() for parameter in of.parameters()]
    for name in OBSERVED:
        delattr(of, name)
    assert torch.autograd.gradcheck(gains, weights)


@pytest.mark.usefixtures("two_threads")
def test_sums_of_many_numbers_are_the_same_bit_for_bit_every_time() -> None:
    """torch adds to chosen places in parallel, in any order, where they are many (`index_put`); this must not."""
    generator = torch.Generator().manual_seed(0)
    entities = 500
    train = torch.unique(torch.randint(0, entities, (40_000, 3), generator=generator), dim=0)
    train[:, 1] %= 3
    graph = make_dataset(
        {"train": [(f"a:{i:03d}", f"r:{i % 3}", f"a:{i:03d}") for i in range(entities)]}, "transductive"
    )
    of = ObservedFeatures(("degree", "links"), replace(graph, triples={"train": torch.unique(train, dim=0)}))
    for parameter in of.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    everything = torch.arange(entities)
    upstream = torch.randn(2 * entities, entities, generator=generator)

    def once() -> list[Tensor]:
        of.zero_grad()
        among = of.among(torch.arange(2 * entities) % of.rows, everything.repeat(2), everything)
        pairs = of.of((everything % of.rows)[:, None], everything[:, None], everything[None])
        ((among * upstream).sum() + (pairs * upstream[:entities]).sum()).backward()
        return [among.detach(), pairs.detach(), *(parameter.grad.clone() for parameter in of.parameters())]

    first = once()
    for _ in range(10):
        assert all(torch.equal(one, other) for one, other in zip(first, once(), strict=True))


FACTS: list[Fact] = [(f"a:{i}", "r" if i % 2 else "s", f"b:{i % 3}") for i in range(8)]
SMALL = told(make_dataset({"train": FACTS, "test": [("a:1", "s", "b:2")]}, "transductive"))


def made(scorer: str, observed: tuple[str, ...] = OBSERVED) -> KGEModel:
    config = ModelConfig(scorer=scorer, dim=4, modalities=["structural"], structural="own", reciprocal=True)
    model = build_model(config.model_copy(update={"observed": list(observed)}), SMALL, {}, 0)
    for parameter in model.observed.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    return model


@pytest.mark.parametrize("scorer", SCORERS.names())
def test_a_score_is_the_scorers_and_what_is_seen(scorer: str) -> None:
    model, everything = made(scorer), torch.arange(len(SMALL.entities))
    scores, half = ModelScores(model, everything), len(SMALL.relations)
    for direction, relation in (("tail", 0), ("head", 0), ("tail", 1)):
        row = relation + half * (direction == "head")
        found = scores.score(direction, relation, everything[[3, 1, 3]], everything)
        for place, anchor in enumerate((3, 1, 3)):
            vectors = model.represent(everything)
            plain = model.scorer.score(vectors[anchor], model.relations[row], vectors)
            seen = [counted(model.observed, SMALL, row, anchor, c) for c in everything.tolist()]
            torch.testing.assert_close(found[place], plain.detach() + torch.tensor(seen))


@pytest.mark.parametrize("way", ["drawn", "shared", "all"])
def test_training_sees_what_evaluation_sees(way: str) -> None:
    """The loss of a batch is that of the scores which evaluation gives its triples and negatives."""
    from vlkge.config import TrainingConfig
    from vlkge.trainer import Material

    model = made("distmult").train()
    pool = "all" if way == "all" else 3
    settings = TrainingConfig(
        loss="softmax", negatives=pool, share_negatives=way != "drawn", negative_pool="entities", batch_size=99
    )
    material = Material(SMALL, settings, reciprocal=True, device=torch.device("cpu"))
    positives = material.triples
    opponents = material.sampler.sample(positives, torch.Generator().manual_seed(0))
    total = Objective("softmax")(model, positives, opponents).loss
    scores, half = ModelScores(model, torch.arange(len(SMALL.entities))), len(SMALL.relations)
    expected = torch.zeros(())
    for place, (h, row, t) in enumerate(positives.tolist()):
        if way == "drawn":
            others = opponents.entities[place][opponents.valid[place]].tolist()
        else:
            known = {c for q, c in zip(*(k.tolist() for k in opponents[0].known), strict=True) if q == place}
            others = [e for c, e in enumerate(opponents[0].entities.tolist()) if c not in known]
        direction, relation = ("tail", row) if row < half else ("head", row - half)
        everything = scores.score(direction, relation, torch.tensor([h]), torch.arange(len(SMALL.entities)))[0]
        expected = expected - everything[[t, *others]].log_softmax(0)[0]
    torch.testing.assert_close(total, expected)


GRAPH = told(make_dataset({
    "train": [(f"a:{i}", "r", f"b:{i % 5}") for i in range(20)] + [(f"b:{i}", "s", f"a:{i}") for i in range(5)],
    "validation": [(f"a:{i}", "r", f"b:{(i + 1) % 5}") for i in range(4)],
    "test": [(f"a:{i}", "r", f"b:{(i + 2) % 5}") for i in range(4)],
}, "transductive"))  # fmt: skip
WAYS = (
    ("training.loss=softmax", "training.negatives=all"),
    ("training.negatives=3",),
    ("training.loss=softmax", "training.negatives=4", "training.share_negatives=true", "training.regularizer=n3",
     "training.regularizer_weight=0.1", "training.precision=bfloat16"),
)  # fmt: skip


def new_run(folder: Path, *settings: str) -> Run:
    plan = load_experiment(None, [
        "model.dim=4", "model.modalities=[structural]", "model.structural=own", "model.reciprocal=true",
        "model.observed=[degree,links,mentions]", "training.batch_size=7", *settings,
    ])  # fmt: skip
    return create_run(folder, resolve(plan, GRAPH), GRAPH)


@pytest.mark.parametrize("scorer", SCORERS.names())
@pytest.mark.parametrize("way", WAYS)
def test_it_trains_resumes_bit_for_bit_and_evaluates(scorer: str, way: tuple[str, ...], tmp_path: Path) -> None:
    straight, broken = (new_run(tmp_path / name, f"model.scorer={scorer}", *way) for name in ("straight", "broken"))
    list(fit(straight, 4))
    list(fit(broken, 2))
    list(fit(load_run(broken.folder), 4))
    states = [load_file(run.folder / load_run(run.folder).record["checkpoint"]["file"]) for run in (straight, broken)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    learned = load_run(broken.folder).load_model().observed
    assert all(bool(weight.any()) for weight in learned.parameters())
    assert evaluate_run(load_run(broken.folder), "test", Strict()).model.overall.queries == 8


def test_prediction_ranks_as_evaluation_does(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    list(fit(run, 5))
    answers = {a.entity: a.score for a in Predictor(load_run(run.folder)).tails_of("a:3", "r", top=99)}
    scores = ModelScores(run.load_model(), torch.arange(len(GRAPH.entities)))
    head, tails = GRAPH.entity_index("a:3"), [GRAPH.entity_index(entity) for entity in answers]
    found = scores.score("tail", 0, torch.tensor([head]), torch.tensor(tails))[0]
    assert list(answers.values()) == pytest.approx(found.tolist())


def test_a_degree_tells_who_lacks_an_answer() -> None:
    train = [(f"a:{i}", "parent", f"b:{i % 3}") for i in range(30)]
    held = [(f"a:{i}", "parent", f"b:{i % 3}") for i in range(30, 36)]
    dataset = make_dataset({"train": [*train, *((f"a:{i}", "knows", f"a:{i - 1}") for i in range(1, 36))],
                            "test": held}, "transductive")  # fmt: skip
    model = build_model(
        ModelConfig(dim=2, modalities=["structural"], structural="own", reciprocal=True, observed=["degree"]),
        dataset, {}, 0,
    )  # fmt: skip
    heads = len(dataset.relations) + dataset.relation_index("parent")
    model.observed.degree.data[heads] = torch.tensor([50.0, 0.0, 0.0, 0.0])
    scores = ModelScores(model, torch.arange(len(dataset.entities)))
    row = scores.score("head", dataset.relation_index("parent"), torch.tensor([dataset.entity_index("b:0")]),
                       torch.arange(len(dataset.entities)))[0]  # fmt: skip
    known = {head for head, _, tail in train if tail == "b:0"}  # which a protocol filters
    order = [
        entity for place in row.argsort(descending=True).tolist() if (entity := dataset.entities[place]) not in known
    ]
    assert set(order[:9]) == {head for head, _, _ in held} | {f"b:{i}" for i in range(3)}  # nobody who has a parent


def test_text_that_is_withheld_is_not_read_through_mentions() -> None:
    features = {"text": make_features(SMALL, "text", list(SMALL.entities), 3)}
    config = ModelConfig(dim=4, modalities=["structural", "text"], reciprocal=True, observed=["mentions"], dropout=0.0)
    model = build_model(config, SMALL, features, 0)
    model.observed.mentions.data.fill_(20.0)
    evaluator = Evaluator(SMALL, "test", Strict())
    withheld = evaluate_by_modality(model, evaluator).withheld["text"]
    model.observed.mentions.data.zero_()
    assert withheld == evaluate_by_modality(model, evaluator).withheld["text"]


def test_without_inverses_it_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"observed needs reciprocal \(--reciprocal\)"):
        load_experiment(None, ["model.observed=[degree]"])
    with pytest.raises(ValueError, match="observed needs reciprocal"):
        ModelConfig(observed=["degree"])
    with pytest.raises(ExperimentError, match=r"model\.observed"):
        load_experiment(None, ["model.observed=[colour]"])


def test_mentions_in_a_graph_without_texts_are_refused() -> None:
    dataset = make_dataset({"train": FACTS}, "transductive")
    plan = load_experiment(None, ["model.observed=[links,mentions]", "model.reciprocal=true"])
    with pytest.raises(ExperimentError, match="no entity of tiny has a text"):
        resolve(plan, dataset)
    assert resolve(plan, told(dataset)).model.observed == ["links", "mentions"]


def test_an_export_says_what_its_vectors_do_not_hold_and_answers_alike(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    list(fit(run, 3))
    made = export_run(load_run(run.folder), tmp_path / "out")
    card = (made.folder / "README.md").read_text()
    assert "what the model sees in the graph (degree, links, mentions), which no vector holds" in card
    answers = [Predictor(load_run(folder)).tails_of("a:3", "r") for folder in (run.folder, made.folder)]
    assert answers[0] == answers[1]


def test_an_explanation_tells_what_a_score_gains_by_what_is_seen(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    list(fit(run, 5))
    predictor = Predictor(load_run(run.folder))
    answers, subject = predictor.tails_of("a:3", "r", top=3), predictor.entity("a:3")
    why = Explainer(predictor).explain(subject, {"r": answers})
    tails = torch.tensor([GRAPH.entity_index(answer.entity) for answer in answers])
    gained = predictor.model.observed.among(torch.tensor([0]), torch.tensor([subject.index]), tails)[0]
    assert why.modalities == ("structural", "observed")
    expected = torch.tensor([answer.score for answer in answers]) - gained.detach()
    assert why.without["r"]["observed"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert why.without["r"]["structural"] == pytest.approx(gained.tolist(), rel=1e-5)  # a vector of zeros scores 0


def test_a_run_that_sees_the_graph_does_not_grow(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    list(fit(run, 1))
    with pytest.raises(UsageError, match="train the grown graph anew"):
        join(load_run(run.folder), Plan(str(tmp_path / "release"), None, tmp_path / "out"), lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_rounding_does_not_move_what_is_seen_as_a_gradient_does() -> None:
    seen, free = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    model = nn.ModuleDict({"observed": nn.ParameterDict({"degree": seen}), "real": nn.ParameterDict({"map": free})})
    optimizer = make_optimizer(model, 0.1)
    seen.grad = free.grad = torch.tensor([1e-8, 1e-2])
    optimizer.step()
    assert seen[0].abs() < 0.002
    assert seen[1].item() == pytest.approx(-0.1, rel=1e-3)
    assert free.tolist() == pytest.approx([-0.1, -0.1], rel=0.02)
