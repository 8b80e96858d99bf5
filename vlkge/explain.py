"""Why an answer: the training entities that the model sees as most alike, and what each modality adds to the score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mkg_builder.errors import UsageError
from vlkge.model import SEEN
from vlkge.predict import Prediction, Predictor, Subject
from vlkge.tasks.retrieval import best


@dataclass(frozen=True)
class Neighbour:
    """An entity seen in training: its id, its name, and the cosine of its fused vector with the subject's."""

    entity: str
    label: str
    cosine: float


@dataclass(frozen=True)
class Explanation:
    """Why a subject has its answers.

    Attributes:
        nearest: the most alike of its type in training, the most alike first.
        modalities: what the subject's vector is made of, besides what all of its type share; and `observed` where its
            scores see more than vectors.
        without: by relation, by modality, the score of each answer with that modality left out; empty where there
            is one modality alone, without which nothing is known of the subject.
    """

    nearest: tuple[Neighbour, ...]
    modalities: tuple[str, ...]
    without: Mapping[str, Mapping[str, tuple[float, ...]]]


class Explainer:
    """Explains the answers of a predictor.

    Args:
        predictor: gave them.
        count: so many neighbours.
    """

    def __init__(self, predictor: Predictor, count: int = 5) -> None:
        self.predictor, self.count = predictor, count
        self._seen = self._learned_of_kinds()

    def explain(self, subject: Subject, answers: Mapping[str, Sequence[Prediction]]) -> Explanation:
        """Why a subject has these answers, by relation.

        Raises:
            UsageError: the subject's type is not known.
        """
        modalities = self._modalities(subject)
        found = {} if len(modalities) < 2 else {name: self._without(subject, name, answers[name]) for name in answers}
        return Explanation(self._nearest(subject), modalities, found)

    def _learned_of_kinds(self) -> dict[str, Tensor]:
        dataset, real = self.predictor.dataset, self.predictor.model.real
        everything = torch.arange(len(dataset.entities))
        usable = self.predictor.run.learned() & real.has_any(everything)
        kinds = {kind: place for place, kind in enumerate(sorted(set(dataset.types)))}
        of = torch.tensor([kinds[kind] for kind in dataset.types])
        return {kind: everything[usable & (of == place)] for kind, place in kinds.items()}

    def _nearest(self, subject: Subject) -> tuple[Neighbour, ...]:
        dataset, real = self.predictor.dataset, self.predictor.model.real
        if subject.kind is None:
            raise UsageError(f"say what {subject.name} is with --type: {', '.join(self._seen)}")
        among = self._seen[subject.kind]
        if subject.index is not None:
            among = among[among != subject.index]
        if not len(among):  # nobody of its type was learned from, or is known by anything
            return ()
        with torch.no_grad():
            if subject.index is None:
                fused = real.outside(subject.raw, self.predictor.is_unseen(subject))
            else:
                fused = real(torch.tensor([subject.index]))
            direction = normalize(fused, dim=-1)
            places, cosines = best(
                lambda _, part: direction @ normalize(real(among[part]), dim=-1).T, (1, len(among)), self.count
            )
        return tuple(
            Neighbour(dataset.entities[entity], dataset.labels[entity], cosine)
            for entity, cosine in zip(among[places[0]].tolist(), cosines[0].tolist(), strict=True)
        )

    def _modalities(self, subject: Subject) -> tuple[str, ...]:
        real, seen = self.predictor.model.real, () if self.predictor.model.observed is None else (SEEN,)
        if subject.index is None:
            return (*(name for name in real.modalities if name in subject.raw), *seen)
        own = real.has(torch.tensor([subject.index]))[:, 0].tolist()
        return (*(name for name, there in zip(real.modalities, own, strict=True) if there), *seen)

    def _without(self, subject: Subject, relation: str, answers: Sequence[Prediction]) -> dict[str, tuple[float, ...]]:
        dataset = self.predictor.dataset
        index, candidates = dataset.relation_index(relation), [dataset.entity_index(p.entity) for p in answers]
        if not candidates:
            return {}
        scores = {}
        for modality in self._modalities(subject):
            found = self.predictor.score([subject], index, torch.tensor(candidates), without=modality)
            scores[modality] = tuple(found[0].tolist())
        return scores
