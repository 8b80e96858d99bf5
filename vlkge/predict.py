"""The likeliest tails of an entity, or of a picture or text outside the graph, by the scoring that evaluates."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mkg_builder.errors import UnknownNameError, UsageError
from vlkge.calibration import RelationCalibration, calibrate_run
from vlkge.dataset import Dataset
from vlkge.encoders import Modality, restore_encoder
from vlkge.errors import RunError
from vlkge.model import KGEModel
from vlkge.pictures import Broken, read_batches, read_picture
from vlkge.protocol import Strict
from vlkge.run import Run
from vlkge.scores import ModelScores

BATCH = 32
"""Pictures that are encoded and answered together."""


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Attributes:
        rank: 1 is the likeliest.
        entity: its id.
        label: its name.
        score: higher is likelier; comparable within one query only.
        known: the split that states the triple, None for a new one.
        probability: that the triple is true, calibrated; None where nothing could be calibrated.
    """

    rank: int
    entity: str
    label: str
    score: float
    known: str | None
    probability: float | None = None


@dataclass(frozen=True)
class Outside:
    """Something that is not in the graph, by its picture, its text or both.

    Attributes:
        picture: its file.
        text: its title or description.
        kind: its entity type; None for the type that has unseen members.
    """

    picture: Path | None = None
    text: str | None = None
    kind: str | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """What is asked about, ready to be scored.

    Attributes:
        name: what to call it.
        kind: its entity type; None where the graph has no type with unseen members.
        index: of an entity of the graph, else None.
        raw: of something outside it, the encoders' vectors [1, d] by modality.
    """

    name: str
    kind: str | None
    index: int | None
    raw: Mapping[Modality, Tensor]


class Predictor:
    """A run made ready to answer; model and vectors are loaded once.

    Args:
        run: a trained run.

    Raises:
        RunError: the run has no finished epoch, or is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.dataset = run, run.dataset
        self.model: KGEModel = run.load_model()
        self._encoders: dict[Modality, Any] = {}
        self._candidates: dict[int, Tensor] = {}

    @cached_property
    def calibration(self) -> Mapping[str, RelationCalibration]:
        """What makes probabilities of scores, by relation."""
        return calibrate_run(self.run, self.model)

    @cached_property
    def _scores(self) -> ModelScores:
        tails = [self.candidates(relation) for relation in range(len(self.dataset.relations))]
        return ModelScores(self.model, torch.unique(torch.cat(tails)))

    def candidates(self, relation: int) -> Tensor:
        """The entities that may be a relation's tail, sorted."""
        if relation not in self._candidates:
            self._candidates[relation] = Strict().candidates(self.dataset, "train", relation, "tail")
        return self._candidates[relation]

    def relations_from(self, kind: str | None) -> list[str]:
        """The relations that start at entities of a type and are asked for.

        Raises:
            UnknownNameError: no such type.
            UsageError: no type, or one that no relation starts at.
        """
        types = sorted(set(self.dataset.types))
        if kind is None:
            raise UsageError(f"say what it is with --type: {', '.join(types)}; or name a relation with --relation")
        if kind not in types:
            raise UnknownNameError("type", kind, types)
        found = [name for name, info in self.dataset.relation_info.items() if info.domain == kind and info.evaluated]
        if not found:
            raise UsageError(f"no relation of {self.dataset.name} starts at entities of type {kind!r}")
        return found

    def entity(self, head: str) -> Subject:
        """An entity of the graph to ask about.

        Raises:
            UnknownNameError: no such entity; names the nearest.
            RunError: the model knows nothing of it.
        """
        index = self.dataset.entity_index(head)
        if not bool(self.model.real.has_any(torch.tensor([index]))):
            raise RunError(f"{head} was not seen in training and has no picture or text, so nothing is known of it")
        return Subject(head, self.dataset.types[index], index, {})

    def outside(self, thing: Outside) -> Subject:
        """Something outside the graph to ask about, encoded by the encoders of the run.

        Raises:
            UsageError: neither picture nor text is given, or the text is blank.
            PictureError: the picture is damaged or of a format that is not allowed.
            RunError: the model has no such modality.
            FeaturesError: the run's encoder is no longer the same.
        """
        if thing.picture is None and thing.text is None:
            raise UsageError("nothing to predict from; give an entity, a picture or a text")
        kind = thing.kind or self.dataset.unseen_type
        vectors: dict[Modality, Tensor] = {}
        if thing.picture is not None:
            vectors["image"] = self._encode("image", [read_picture(thing.picture)])
        if thing.text is not None:
            vectors["text"] = self._encode("text", [self._sentence(thing.text, kind)])
        return Subject(str(thing.picture or repr(thing.text)), kind, None, vectors)

    def pictures(self, paths: Sequence[Path], kind: str | None = None) -> Iterator[list[Subject | Broken]]:
        """Pictures outside the graph to ask about, in their order, a batch at a time; a broken one costs no other.

        Raises:
            RunError: the model has no pictures.
            FeaturesError: the run's encoder is no longer the same.
        """
        kind = kind or self.dataset.unseen_type
        for batch in read_batches(paths, BATCH):
            decoded = [picture for _, picture in batch if not isinstance(picture, str)]
            rows = iter(torch.split(self._encode("image", decoded), 1))
            yield [
                Broken(str(path), picture) if isinstance(picture, str)
                else Subject(str(path), kind, None, {"image": next(rows)})
                for path, picture in batch
            ]  # fmt: skip

    def tails_of(self, head: str, relation: str, top: int = 10, new_only: bool = False) -> list[Prediction]:
        """The likeliest tails of an entity.

        Args:
            head: an entity id.
            relation: a relation name.
            top: how many.
            new_only: leave out what the graph already states.

        Raises:
            UnknownNameError: no such entity or relation; names the nearest.
            UsageError: the relation starts at entities of another type.
            RunError: the model knows nothing of the entity.
        """
        kind = self.dataset.types[self.dataset.entity_index(head)]
        self._require_domain(relation, head, kind)
        return self.answers([self.entity(head)], relation, top, new_only)[0]

    def tails_of_outside(self, thing: Outside, relation: str, top: int = 10) -> list[Prediction]:
        """The likeliest tails of something outside the graph; raises what `outside` and `answers` raise."""
        self.dataset.relation_index(relation)
        return self.answers([self.outside(thing)], relation, top)[0]

    def answers(
        self, subjects: Sequence[Subject], relation: str, top: int = 10, new_only: bool = False
    ) -> list[list[Prediction]]:
        """The likeliest tails of each subject.

        Raises:
            UnknownNameError: no such relation.
            UsageError: the relation starts at entities of another type.
            RunError: the scores are not finite.
        """
        index = self.dataset.relation_index(relation)
        for subject in subjects:
            self._require_domain(relation, subject.name, subject.kind)
        scores = self.score(subjects, index, self.candidates(index))
        fitted = self.calibration.get(relation)
        known = [{} if one.index is None else _known_tails(self.dataset, one.index, index) for one in subjects]
        stated = torch.stack([self._among(index, tails) for tails in known])
        likely = [None] * len(scores) if fitted is None else fitted.probabilities(scores, stated)
        allowed = ~stated if new_only else torch.ones_like(stated)
        return [self._best(index, *row, top) for row in zip(scores, likely, allowed, known, strict=True)]

    def score(
        self, subjects: Sequence[Subject], relation: int, candidates: Tensor, without: str | None = None
    ) -> Tensor:
        """The scores [q, m] of candidate tails of subjects, one modality left out where that is asked for.

        Raises:
            RunError: they are not finite.
        """
        who = torch.tensor([-1 if subject.index is None else subject.index for subject in subjects])
        of_model = self._scores  # candidates are represented with all that they have
        with self.model.real.without([without] if without else [], torch.tensor([True])):
            anchors = torch.cat([self._vector(subject, without) for subject in subjects])
            scores = of_model.score_vectors("tail", relation, anchors, candidates, who)
        if not bool(scores.isfinite().all()):
            raise RunError(f"{self.run.folder} gives scores that are not finite; its training diverged")
        return scores

    @torch.no_grad()
    def _vector(self, subject: Subject, without: str | None) -> Tensor:
        """The vector [1, size] of a subject; of one outside the graph what is left out is never read."""
        if subject.index is not None:
            return self.model.represent(torch.tensor([subject.index]))
        raw = {name: vectors for name, vectors in subject.raw.items() if name != without}
        return self.model.represent_outside(raw, self.is_unseen(subject))

    def is_unseen(self, subject: Subject) -> bool:
        """Whether a subject is of the type that has unseen members."""
        return subject.kind == self.dataset.unseen_type

    def _best(
        self, relation: int, scores: Tensor, likely: Tensor | None, allowed: Tensor, known: dict[int, str], top: int
    ) -> list[Prediction]:
        entities = self.candidates(relation)
        wanted = min(top, int(allowed.sum()))
        least = scores[allowed].topk(wanted).values[-1:]
        near = (allowed & (scores >= least)).nonzero()[:, 0] if wanted else allowed.nonzero()[:, 0]
        # stable: equal scores keep the order of the ids
        order = near[scores[near].sort(descending=True, stable=True).indices][:top].tolist()
        return [
            Prediction(
                rank, self.dataset.entities[entity], self.dataset.labels[entity], float(scores[place]),
                known.get(entity), None if likely is None else float(likely[place]),
            )
            for rank, (place, entity) in enumerate(zip(order, entities[order].tolist(), strict=True), 1)
        ]  # fmt: skip

    def _among(self, relation: int, tails: Collection[int]) -> Tensor:
        """Which candidates of a relation are these entities: bool [m]."""
        return torch.isin(self.candidates(relation), torch.tensor(list(tails), dtype=torch.int64))

    def _require_domain(self, relation: str, name: str, kind: str | None) -> None:
        self.dataset.relation_index(relation)
        expected = self.dataset.relation_info[relation].domain
        if kind is not None and expected != kind:
            raise UsageError(f"{relation} starts at entities of type {expected!r}, {name} is of type {kind!r}")

    def _sentence(self, text: str, kind: str | None) -> str:
        """A text as the encoder read those of its type."""
        if not text.strip():
            raise UsageError("the text is blank; give a title or a description")
        about = self.dataset.type_info.get(kind) if kind else None
        return ((about and about.prompt) or "{}").replace("{}", text)

    def _encode(self, modality: Modality, values: Sequence[Any]) -> Tensor:
        if modality not in self.model.real.modalities:
            has = ", ".join(self.model.real.modalities)
            raise RunError(f"{self.run.folder} was trained without {modality} (it has: {has}); train one with it")
        if modality not in self._encoders:
            self._encoders[modality] = restore_encoder(self.run.features[modality].info)
        return torch.from_numpy(self._encoders[modality].encode(values))


def _known_tails(dataset: Dataset, head: int, relation: int) -> dict[int, str]:
    known: dict[int, str] = {}
    for split, triples in dataset.triples.items():
        stated = triples[(triples[:, 0] == head) & (triples[:, 1] == relation), 2]
        known.update(dict.fromkeys(stated.tolist(), split))
    return known
