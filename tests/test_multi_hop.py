"""Answers to questions over several facts equal those of trying every assignment; generated answers those of sets."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from tests.vlkge_contracts import MatrixScores, make_dataset, random_dataset, random_scores
from vlkge.dataset import Dataset
from vlkge.query_benchmark import SHAPES, Question, QuestionMaker, ShapeResult, measure
from vlkge.query_language import Atom, Binder, Query, Term, parse
from vlkge.tasks.multi_hop import UNKNOWN, Norm, ScoredTruth, solve, solve_either

WIDE = 1000
GRAPHS = range(12)


def table(dataset: Dataset, seed: int) -> torch.Tensor:
    """A truth value for each fact that can be said."""
    shape = (len(dataset.relations), len(dataset.entities), len(dataset.entities))
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def questions(dataset: Dataset, shape: str, seed: int, tails_only: bool = False) -> list[Question]:
    return QuestionMaker(dataset, tails_only).make(shape, 3, seed)


def assignments(dataset: Dataset, query: Query, atoms: tuple[Atom, ...]) -> Iterator[dict[str, int]]:
    """Every way to put entities of the right types in the place of a branch's variables."""
    kinds: dict[str, str] = {}
    for atom in atoms:
        info = dataset.relation_info[atom.relation]
        kinds |= {t.text: kind for t, kind in ((atom.head, info.domain), (atom.tail, info.range)) if t.variable}
    pools = [[i for i, other in enumerate(dataset.types) if other == kind] for kind in kinds.values()]
    for chosen in itertools.product(*pools):
        yield dict(zip(kinds, chosen, strict=True))


def facts(dataset: Dataset, atoms: tuple[Atom, ...], stands: dict[str, int]) -> list[tuple[int, int, int]]:
    def index(term: Term) -> int:
        return stands[term.text] if term.variable else dataset.entities.index(term.text)

    return [(index(a.head), dataset.relations.index(a.relation), index(a.tail)) for a in atoms]


def brute_force(dataset: Dataset, query: Query, truth: torch.Tensor, norm: Norm) -> dict[int, float]:
    """By target, the truth of the best assignment of each branch, joined."""
    total: dict[int, float] = {}
    for atoms in query.branches:
        best: dict[int, float] = {}
        for stands in assignments(dataset, query, atoms):
            values = [float(truth[r, h, t]) for h, r, t in facts(dataset, atoms, stands)]
            value = min(values) if norm == "min" else float(torch.tensor(values, dtype=torch.float64).prod())
            best[stands[query.target]] = max(best.get(stands[query.target], 0.0), value)
        for target, value in best.items():
            one = total.get(target, 0.0)
            total[target] = max(one, value) if norm == "min" else 1 - (1 - one) * (1 - value)
    return total


@pytest.mark.parametrize("norm", ["product", "min"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_wide_beam_finds_what_trying_every_assignment_finds(shape: str, norm: Norm) -> None:
    tried = 0
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        values = table(dataset, seed)
        for question in questions(dataset, shape, seed):
            total, _ = solve_either(question.branches, MatrixScores(values).score, WIDE, norm)
            found = dict(zip(question.branches[0].candidates.tolist(), total.tolist(), strict=True))
            assert found == pytest.approx(brute_force(dataset, question.query, values, norm))
            tried += 1
    assert tried > 10


def test_the_path_of_an_answer_has_the_answer_s_truth() -> None:
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        values = table(dataset, seed)
        for question in questions(dataset, "pi", seed):
            solved = solve(question.branches[0], MatrixScores(values).score, WIDE)
            for place, value in enumerate(solved.truth.tolist()):
                path = solved.path(place)
                said = [values[r, h, t] for h, r, t in facts(dataset, question.query.branches[0], path)]
                assert path["?x"] == int(question.branches[0].candidates[place])
                assert value == pytest.approx(float(torch.stack(said).prod()))


def test_a_narrow_beam_keeps_the_likeliest() -> None:
    dataset = random_dataset(3)
    for question in questions(dataset, "2p", 3):
        values = table(dataset, 3)
        score = MatrixScores(values).score
        narrow = solve(question.branches[0], score, 1)
        inner, _ = narrow.choices[0]
        assert {narrow.path(place)["?y"] for place in range(len(narrow.truth))} == {
            int(inner.node.candidates[inner.truth.argmax()])
        }
        assert bool((narrow.truth <= solve(question.branches[0], score, WIDE).truth).all())


def true_answers(dataset: Dataset, query: Query, splits: tuple[str, ...]) -> set[int]:
    stated = {tuple(fact) for split in splits for fact in dataset.triples[split].tolist()}
    return {
        stands[query.target]
        for atoms in query.branches
        for stands in assignments(dataset, query, atoms)
        if stated.issuperset(facts(dataset, atoms, stands))
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_easy_and_hard_answers_are_those_of_plain_sets(shape: str) -> None:
    made = 0
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        for question in questions(dataset, shape, seed, tails_only=seed % 2 == 0):
            easy = true_answers(dataset, question.query, ("train",))
            every = true_answers(dataset, question.query, ("train", "validation", "test"))
            assert set(question.easy.tolist()) == easy
            assert set(question.hard.tolist()) == every - easy != set()
            assert len(question.hard) == len(every - easy)
            made += 1
    assert made > 10


LINKS = {
    "1p": "x", "2p": "xy", "3p": "xyz", "2i": "xx", "3i": "xxx", "ip": "xyy", "pi": "xxy", "2u": "x|x", "up": "xy|xy"
}  # fmt: skip
"""By shape, the variables whose facts its branches state."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_question_has_the_shape_that_is_asked_for(shape: str) -> None:
    for seed in GRAPHS:
        for question in questions(random_dataset(seed), shape, seed):
            found = []
            for branch in question.branches:
                names, waiting = [], [branch]
                while waiting:
                    node = waiting.pop()
                    names += [node.name[1:]] * len(node.steps)
                    waiting += [step.source for step in node.steps if not isinstance(step.source, int)]
                found.append("".join(sorted(names)))
            assert "|".join(found) == LINKS[shape]


def test_a_seed_gives_the_same_questions_and_another_seed_others() -> None:
    dataset = random_dataset(3)
    once, again, other = (
        [str(q.query) for q in QuestionMaker(dataset).make("2i", 5, seed)] for seed in (1, 1, 2)
    )  # fmt: skip
    assert once == again != other


def test_tails_only_never_asks_for_a_head() -> None:
    for seed in GRAPHS:
        for question in questions(random_dataset(seed), "pi", seed, tails_only=True):
            for atom in question.query.branches[0]:
                assert atom.tail.variable


def test_a_shape_that_the_types_forbid_is_not_possible() -> None:
    by = [(f"artwork:{i}", "by", f"artist:{i % 2}") for i in range(6)]
    dataset = make_dataset({"train": by[:4], "test": by[4:]})
    possible = {shape: QuestionMaker(dataset, tails_only=True).possible(shape) for shape in SHAPES}
    assert [shape for shape, can in possible.items() if not can] == ["2p", "3p", "ip", "pi", "up"]
    assert all(QuestionMaker(dataset).possible(shape) for shape in SHAPES)
    assert QuestionMaker(dataset, tails_only=True).make("2p", 5, 0) == []


def test_hard_answers_are_ranked_without_the_other_answers() -> None:
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        values = table(dataset, seed).mul(4).round()
        asked = questions(dataset, "2i", seed)
        if asked:
            result = measure("2i", asked, lambda b, v=values: solve_either(b, MatrixScores(v).score, WIDE)[0])
            assert result.model.mrr == pytest.approx(sum(expected_mrr(q, values) for q in asked) / len(asked))
            assert result.answers == sum(len(q.hard) for q in asked)


def expected_mrr(question: Question, values: torch.Tensor) -> float:
    candidates = question.branches[0].candidates.tolist()
    total = solve_either(question.branches, MatrixScores(values).score, WIDE)[0].tolist()
    score = dict(zip(candidates, total, strict=True))
    answers = {*question.easy.tolist(), *question.hard.tolist()}
    found = []
    for hard in question.hard.tolist():
        others = [score[c] for c in candidates if c not in answers]
        over, same = sum(s > score[hard] for s in others), sum(s == score[hard] for s in others)
        found.append(1 / (1 + over + same / 2))
    return sum(found) / len(found)


def test_an_oracle_ranks_every_hard_answer_first() -> None:
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        head, relation, tail = torch.cat(list(dataset.triples.values())).unbind(1)
        values = torch.zeros_like(table(dataset, seed))
        values[relation, head, tail] = 1.0
        for shape in SHAPES:
            asked = questions(dataset, shape, seed)
            if asked:
                result = measure(shape, asked, lambda b, v=values: solve_either(b, MatrixScores(v).score, WIDE)[0])
                assert result.model.mrr == 1.0
                assert isinstance(result, ShapeResult)


def scored(dataset: Dataset, seed: int, hybrid: bool, unknown: torch.Tensor | None = None) -> ScoredTruth:
    binder = Binder(dataset)
    tails = [binder.members(dataset.relation_info[name].range) for name in dataset.relations]
    nothing = torch.zeros(len(dataset.entities), dtype=torch.bool) if unknown is None else unknown
    return ScoredTruth(random_scores(dataset, seed), dataset.triples["train"], tails, nothing, hybrid)


def test_a_fact_is_as_true_whichever_end_is_asked_for() -> None:
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        truth = scored(dataset, seed, hybrid=True)
        for index, name in enumerate(dataset.relations):
            info = dataset.relation_info[name]
            heads, tails = Binder(dataset).members(info.domain), Binder(dataset).members(info.range)
            backwards = truth("head", index, tails.flip(0), heads)
            torch.testing.assert_close(truth("tail", index, heads, tails), backwards.T.flip(1))


def test_truth_is_the_share_among_tails_times_how_many_train_states() -> None:
    for seed in GRAPHS:
        dataset = random_dataset(seed)
        scores = random_scores(dataset, seed)
        for index, name in enumerate(dataset.relations):
            info = dataset.relation_info[name]
            heads, tails = Binder(dataset).members(info.domain), Binder(dataset).members(info.range)
            for head in heads.tolist():
                stated = [t for h, r, t in dataset.triples["train"].tolist() if (h, r) == (head, index)]
                shares = scores.table[index, head, tails].double().softmax(0) * max(1, len(stated))
                expected = [min(1.0, share) for share in shares.tolist()]
                for hybrid in (False, True):
                    found = scored(dataset, seed, hybrid)("tail", index, torch.tensor([head]), tails)[0].tolist()
                    sure = [hybrid and tail in stated for tail in tails.tolist()]
                    assert found == pytest.approx([1.0 if s else e for s, e in zip(sure, expected, strict=True)])


def test_a_tail_of_which_nothing_is_known_comes_last_and_leaves_the_other_facts_their_say() -> None:
    dataset = random_dataset(3)
    unknown = torch.tensor([entity == "artist:alone" for entity in dataset.entities])
    truth, alone = scored(dataset, 3, False, unknown), torch.tensor([dataset.entity_index("artist:alone")])
    heads = Binder(dataset).members("artist")
    index = dataset.relation_index("influences")
    assert set(truth("tail", index, heads, alone).flatten().tolist()) == {UNKNOWN}
    assert set(truth("head", index, alone, heads).flatten().tolist()) == {UNKNOWN}
    assert bool((truth("tail", index, heads, heads)[:, heads != alone] > UNKNOWN).all())
    text = "?x: influences(?x, artist:alone), influences(?x, artist:0)"
    total = solve_either(Binder(dataset).bind(parse(text)), truth, WIDE)[0]
    other = solve_either(Binder(dataset).bind(parse("?x: influences(?x, artist:0)")), truth, WIDE)[0]
    torch.testing.assert_close(total / UNKNOWN, other)


def test_a_generated_question_can_be_typed() -> None:
    dataset = random_dataset(3)
    for shape in SHAPES:
        for question in questions(dataset, shape, 3):
            assert parse(str(question.query)) == question.query
