"""A run put to the tasks: questions over several facts, and how well they are answered; classification."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mkg_builder.errors import UnknownNameError
from vlkge.errors import RunError
from vlkge.evaluate import describe_dataset
from vlkge.query_benchmark import MOST_ANSWERS, SHAPES, QuestionMaker, ShapeResult, measure
from vlkge.query_language import Binder, Query, Term
from vlkge.run import Run
from vlkge.scores import FrequencyScores, ModelScores
from vlkge.tasks.classification import VERSION, classify_entities, classify_triples
from vlkge.tasks.multi_hop import Node, Norm, ScoredTruth, Solved, solve_either


@dataclass(frozen=True)
class Options:
    """How a question is answered.

    Attributes:
        beam: how many entities a variable on the way may stand for.
        norm: how the truths of facts are joined.
        known: whether a fact of train is true whatever the model says.
    """

    beam: int = 64
    norm: Norm = "product"
    known: bool = True


@dataclass(frozen=True)
class Evidence:
    """A fact that an answer rests on, how true it is, and the split that states it."""

    relation: str
    head: str
    tail: str
    truth: float
    stated: str | None


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        rank: 1 is the likeliest.
        entity: its id.
        label: its name.
        score: how true it is, between 0 and 1.
        through: by variable on the way, the id of the entity that it stands for.
        evidence: the facts of the branch that says most for it.
    """

    rank: int
    entity: str
    label: str
    score: float
    through: dict[str, str]
    evidence: tuple[Evidence, ...]


class Reasoner:
    """A run made ready to answer questions over several facts.

    Args:
        run: a trained run.
        options: how.

    Raises:
        RunError: the run has no finished epoch, or is damaged.
    """

    def __init__(self, run: Run, options: Options = Options()) -> None:
        self.run, self.dataset, self.options = run, run.dataset, options
        self._model, self._binder = run.load_model(), Binder(run.dataset)

    def answer(self, query: Query, top: int = 10) -> list[Answer]:
        """The likeliest answers to a question; equal ones in the order of their ids.

        Raises:
            UnknownNameError: an unknown relation or entity; names the nearest.
            UsageError: what is asked is no tree from the target to given entities, or types differ.
            RunError: the model knows nothing of a given entity, or its scores are not finite.
        """
        branches = self._binder.bind(query)
        self._require_known(query)
        info = [self.dataset.relation_info[atom.relation] for branch in query.branches for atom in branch]
        kinds = sorted({kind for one in info for kind in (one.domain, one.range)})
        truth = self._truth(torch.cat([self._binder.members(kind) for kind in kinds]).sort().values)
        total, solved = solve_either(branches, truth, self.options.beam, self.options.norm)
        if not bool(total.isfinite().all()):
            raise RunError(f"{self.run.folder} gives scores that are not finite; its training diverged")
        places = total.sort(descending=True, stable=True).indices[:top].tolist()
        return [
            self._explain(query, solved, truth, place, (rank, float(total[place])))
            for rank, place in enumerate(places, 1)
        ]

    def benchmark(
        self, shapes: Sequence[str], per_shape: int, seed: int, tails_only: bool = False
    ) -> list[ShapeResult]:
        """How well the hard answers to questions of each shape are ranked; a shape without questions says why.

        Raises:
            UnknownNameError: no such shape.
        """
        maker, found = QuestionMaker(self.dataset, tails_only), []
        truth = self._truth(torch.arange(len(self.dataset.entities)))
        for shape in shapes:
            if shape not in SHAPES:
                raise UnknownNameError("shape", shape, SHAPES)
            questions = maker.make(shape, per_shape, seed)
            if questions:
                found.append(measure(shape, questions, lambda branches: self._total(branches, truth)))
            else:
                reason = f"none drawn with 1 to {MOST_ANSWERS} answers of which one is hard"
                absent = reason if maker.possible(shape) else "no relations of the graph can be joined so"
                found.append(ShapeResult(shape, absent=absent))
        return found

    def about(self) -> dict[str, Any]:
        """What the numbers depend on besides the questions."""
        return {**identify(self.run), **asdict(self.options)}

    def _total(self, branches: Sequence[Node], truth: ScoredTruth) -> Tensor:
        return solve_either(branches, truth, self.options.beam, self.options.norm)[0]

    def _truth(self, entities: Tensor) -> ScoredTruth:
        tails = [self._binder.members(self.dataset.relation_info[name].range) for name in self.dataset.relations]
        unknown = ~self._model.real.has_any(torch.arange(len(self.dataset.entities)))
        scores = ModelScores(self._model, entities)
        return ScoredTruth(scores, self.dataset.triples["train"], tails, unknown, self.options.known)

    def _require_known(self, query: Query) -> None:
        terms = [term for branch in query.branches for atom in branch for term in (atom.head, atom.tail)]
        for term in terms:
            if not term.variable:
                index = torch.tensor([self.dataset.entity_index(term.text)])
                if not bool(self._model.real.has_any(index)):
                    raise RunError(f"{term} was not in training and has no picture or text: nothing is known of it")

    def _explain(
        self, query: Query, solved: Sequence[Solved], truth: ScoredTruth, place: int, score: tuple[int, float]
    ) -> Answer:
        best = max(range(len(solved)), key=lambda branch: float(solved[branch].truth[place]))
        path = solved[best].path(place)
        evidence = []
        for atom in query.branches[best]:
            head, tail = (self._stands_for(term, path) for term in (atom.head, atom.tail))
            relation = self.dataset.relation_index(atom.relation)
            value = float(truth("tail", relation, torch.tensor([head]), torch.tensor([tail])))
            ids = self.dataset.entities[head], self.dataset.entities[tail]
            evidence.append(Evidence(atom.relation, *ids, value, self._stated(head, relation, tail)))
        entity = path.pop(query.target)
        through = {name: self.dataset.entities[index] for name, index in sorted(path.items())}
        return Answer(
            score[0], self.dataset.entities[entity], self.dataset.labels[entity], score[1], through, tuple(evidence)
        )

    def _stands_for(self, term: Term, path: dict[str, int]) -> int:
        return path[term.text] if term.variable else self.dataset.entity_index(term.text)

    def _stated(self, head: int, relation: int, tail: int) -> str | None:
        fact = torch.tensor([head, relation, tail])
        splits = self.dataset.triples.items()
        return next((split for split, triples in splits if bool((triples == fact).all(1).any())), None)


def identify(run: Run) -> dict[str, Any]:
    """The data set and the seed that a run's numbers belong to."""
    return {"dataset": describe_dataset(run.dataset), "seed": run.experiment.training.seed}


def classify(run: Run, split: str, seed: int) -> dict[str, Any]:
    """A run as a classifier of triples and of entities, with what the numbers depend on.

    Raises:
        UnknownNameError, UsageError, RunError: as `vlkge.tasks.classification` says.
    """
    dataset = run.dataset
    scores = ModelScores(run.load_model(), torch.arange(len(dataset.entities)))
    triples = classify_triples(dataset, split, scores, FrequencyScores(dataset), seed)
    entities = classify_entities(dataset, split, scores)
    return {
        "triples": {name or "all": asdict(found) for name, found in triples.items()},
        "entities": {name: asdict(found) for name, found in entities.items()},
        "split": split, "protocol": {"name": "classification", "version": VERSION}, "negatives_seed": seed,
        **identify(run),
    }  # fmt: skip
