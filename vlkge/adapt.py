"""A pretrained vision-language model learns the domain of a graph from pictures and facts of train."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mkg_builder import schema
from mkg_builder.errors import UsageError
from mkg_builder.picture import PictureError, decode_picture
from vlkge.contrastive import Sentences, multi_positive_loss, sentences, shuffled, truths
from vlkge.dataset import Dataset, load_folder
from vlkge.encoders_open_clip import Parts, load_parts, write_model
from vlkge.errors import DatasetError, FeaturesError
from vlkge.features import DatasetIdentity
from vlkge.files import read_sealed_json, read_tensors, whole_folder, write_sealed_json, write_tensors
from vlkge.pretrained import find_device
from vlkge.unlock import add_lora, unlock_blocks

OPEN_CLIP = "open_clip:"
RECORD, STATE, PROGRESS = "adaptation.json", "state.safetensors", "progress.json"
ADAM = ("step", "exp_avg", "exp_avg_sq")
LARGEST_SCALE = 100.0
"""As in CLIP: the logits' scale is not to grow beyond."""

Advance = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class AdaptOptions:
    """How a model is adapted.

    Attributes:
        blocks: how many blocks at the end of each tower learn, and the projections; the rest stays as it is.
        lora: the rank of additions to all blocks, which learn instead; 0: none.
        epochs: passes over the pictures of train.
        batch_size: pictures at once; their sentences are each other's counterparts.
        learning_rate: of AdamW.
        seed: of the order of the pictures.
        device: "cpu", "cuda" or "auto".
    """

    blocks: int = 1
    lora: int = 0
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-5
    seed: int = 42
    device: str = "auto"


@dataclass(frozen=True)
class AdaptEpoch:
    """What one epoch came to; 0 is the model as it was given.

    Attributes:
        epoch: 1 is the first.
        loss: mean over the pictures of train, while learning; None for epoch 0.
        validation_loss: mean over those of validation.
        best: whether these weights are kept so far.
        seconds: training and validation.
    """

    epoch: int
    loss: float | None
    validation_loss: float
    best: bool
    seconds: float


@dataclass(frozen=True)
class AdaptReport:
    """Where the model lies, and the way there."""

    folder: Path
    pictures: int
    facts: int
    trained: int
    history: tuple[AdaptEpoch, ...]


def adapt(
    release: Path,
    encoder: str,
    out: Path,
    options: AdaptOptions = AdaptOptions(),
    progress: Advance = lambda _stage, _done, _total: None,
) -> AdaptReport:
    """Adapt a model of open_clip to a release and write it into the folder `out`, for `open_clip:local-dir:OUT`.

    It learns from pictures whose entity is the head of a train triple, and from no other triple; the epoch with
    the least loss on validation is kept, the given model among them. After a kill the same command goes on after
    the last epoch, whose state lies in `OUT.part`.

    Raises:
        UsageError: the encoder is not one of open_clip, its blocks cannot be told apart, or `out` is there.
        DatasetError: the release has no prompts, or no pictures with facts in train and in validation.
        MkgError: as `OpenClip.create` and `load_folder`.
    """
    if not encoder.startswith(OPEN_CLIP):
        raise UsageError(f"encoder {encoder!r} cannot be adapted; name one of open_clip: {OPEN_CLIP}MODEL/PRETRAINED")
    if out.exists():
        raise UsageError(f"{out} is there; choose another place with --out")
    dataset, device = load_folder(release), find_device(options.device)
    pairs = {split: sentences(dataset, split) for split in ("train", "validation")}
    counts = {split: _count(release, pairs[split], dataset, split) for split in pairs}
    parts = load_parts(encoder.removeprefix(OPEN_CLIP), device)
    key = {
        "base": {"spec": encoder, "revision": parts.source.revision, "weights_sha256": parts.weights_sha256},
        "dataset": asdict(DatasetIdentity.of(dataset)), "options": {**asdict(options), "device": device.type},
        "pictures": counts["train"][0], "facts": counts["train"][1], "validation_pictures": counts["validation"][0],
    }  # fmt: skip
    learner = _Learner(parts, _Pictures(release, pairs, parts, options), options, device)
    part = out.with_name(f"{out.name}.part")
    learner.restore(part, key)
    while len(learner.history) <= options.epochs:
        learner.run_epoch(counts["train"][0], progress)
        learner.save(part, key)
    learner.take_best()
    record = {**key, "trained_parameters": learner.trained, "history": [asdict(one) for one in learner.history]}
    with whole_folder(out, replace=False) as fresh:
        write_model(fresh, parts)
        write_sealed_json(fresh / RECORD, record)
    for path in part.iterdir():
        path.unlink()
    part.rmdir()
    return AdaptReport(out, *counts["train"], learner.trained, tuple(learner.history))


def _count(release: Path, pairs: Sentences, dataset: Dataset, split: str) -> tuple[int, int]:
    """How many pictures have sentences in a split, and how many sentences these are.

    Raises:
        DatasetError: none.
    """
    rows = schema.read_table(release, "entities", columns=["id", "has_image"]).to_pylist()
    found = [len(pairs.of[row["id"]]) for row in rows if row["has_image"] and row["id"] in pairs.of]
    if not found:
        raise DatasetError(
            f"no picture of {dataset.name} belongs to the head of a {split} triple whose relation has a prompt"
        )
    return len(found), sum(found)


class _Pictures:
    """The pictures of a release with their sentences, in batches."""

    def __init__(self, release: Path, pairs: dict[str, Sentences], parts: Parts, options: AdaptOptions) -> None:
        self._release, self._pairs, self._parts, self._options = release, pairs, parts, options

    def batches(self, split: str, seed: int | None) -> Iterator[tuple[Tensor, list[str], Tensor]]:
        """Pixels [p, ...], sentences and which are true of which [p, t]; in the release's order without a seed."""
        pairs = self._pairs[split]
        found = ((data, pairs.of[entity]) for entity, data in schema.iter_pictures(self._release) if entity in pairs.of)
        ordered = found if seed is None else shuffled(found, seed)
        while items := list(islice(ordered, self._options.batch_size)):
            decoded = [(pixels, true) for data, true in items if (pixels := self._pixels(data)) is not None]
            if decoded:
                places, true = truths([one for _, one in decoded])
                yield torch.stack([pixels for pixels, _ in decoded]), [pairs.texts[place] for place in places], true

    def _pixels(self, data: bytes) -> Tensor | None:
        try:
            return self._parts.preprocess(decode_picture(data, "a picture").convert("RGB"))
        except PictureError:
            return None  # as `vlkge encode`, which says so


class _Learner:
    """A model that learns, and what it needs to go on."""

    def __init__(self, parts: Parts, pictures: _Pictures, options: AdaptOptions, device: torch.device) -> None:
        self._parts, self._pictures, self._options, self._device = parts, pictures, options, device
        self.history: list[AdaptEpoch] = []
        self._merge: Callable[[], Any] = lambda: None
        if options.lora:
            self._merge = add_lora(parts.model, options.lora, options.seed)
        else:
            unlock_blocks(parts.model, options.blocks)
        # the model stays in evaluation mode: its frozen statistics stay as they are, and nothing is drawn
        self._learned = {name: one for name, one in parts.model.named_parameters() if one.requires_grad}
        self.trained = sum(parameter.numel() for parameter in self._learned.values())
        self._best = self._weights()
        self._optimizer = torch.optim.AdamW(self._learned.values(), lr=options.learning_rate)

    def run_epoch(self, pictures: int, progress: Advance) -> None:
        """Learn an epoch, which the first, number 0, is not; then validate."""
        began, number = time.perf_counter(), len(self.history)
        loss = self._learn(number, pictures, progress) if number else None
        with torch.inference_mode():
            validation = self._mean([(len(batch[0]), float(self._loss(*batch))) for batch in self._validation()])
        best = validation < min((one.validation_loss for one in self.history), default=torch.inf)
        if best:
            self._best = self._weights()
        self.history.append(AdaptEpoch(number, loss, validation, best, round(time.perf_counter() - began, 3)))

    def _validation(self) -> Iterator[tuple[Tensor, list[str], Tensor]]:
        return self._pictures.batches("validation", None)

    def _learn(self, number: int, pictures: int, progress: Advance) -> float:
        losses: list[tuple[int, float]] = []
        stage = f"epoch {number} of {self._options.epochs}"
        for batch in self._pictures.batches("train", self._options.seed + 1_000_003 * number):
            loss = self._loss(*batch)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            losses.append((len(batch[0]), float(loss.detach())))
            progress(stage, sum(count for count, _ in losses), pictures)
        return self._mean(losses)

    def _mean(self, losses: Sequence[tuple[int, float]]) -> float:
        if not losses:
            raise DatasetError("none of the pictures can be decoded, so there is nothing to learn from")
        mean = sum(count * loss for count, loss in losses) / sum(count for count, _ in losses)
        if not mean < float("inf"):
            raise FeaturesError(f"the loss is {mean}; try a smaller --lr")
        return mean

    def _loss(self, pixels: Tensor, texts: list[str], true: Tensor) -> Tensor:
        model = self._parts.model
        images = model.encode_image(pixels.to(self._device))
        sides = model.encode_text(self._parts.tokenizer(texts).to(self._device))
        scale = model.logit_scale.exp().clamp(max=LARGEST_SCALE)
        return multi_positive_loss(images, sides, true.to(self._device), scale)

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().cpu().clone() for name, parameter in self._learned.items()}

    def take_best(self) -> None:
        """Put the best epoch's weights in place, in the model's own form."""
        self._put(self._best)
        self._merge()

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._learned.items():
                parameter.copy_(weights[name])

    def save(self, part: Path, key: dict[str, Any]) -> None:
        """Keep the state after an epoch."""
        tensors = {f"now.{name}": tensor for name, tensor in self._weights().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for name, parameter in self._learned.items():
            tensors |= {f"{kept}.{name}": value.cpu() for kept, value in self._optimizer.state[parameter].items()}
        part.mkdir(parents=True, exist_ok=True)
        digest = write_tensors(part / STATE, tensors)
        # written last: a state without it, or with that of another epoch, is none
        history = [asdict(one) for one in self.history]
        write_sealed_json(part / PROGRESS, {"key": key, "state": digest, "history": history})

    def restore(self, part: Path, key: dict[str, Any]) -> None:
        """Go on from a state of the same adaptation; another one is passed over."""
        try:
            said = read_sealed_json(part / PROGRESS, FeaturesError, "")
            if said["key"] != key:
                return
            tensors = read_tensors(part / STATE, said["state"], FeaturesError, "")
        except FeaturesError:
            return
        self._put({name: tensors[f"now.{name}"] for name in self._learned})
        self._best = {name: tensors[f"best.{name}"] for name in self._learned}
        for name, parameter in self._learned.items():
            kept = {kind: tensors[f"{kind}.{name}"] for kind in ADAM if f"{kind}.{name}" in tensors}
            self._optimizer.state[parameter] = {
                kind: value if kind == "step" else value.to(self._device) for kind, value in kept.items()
            }
        self.history = [AdaptEpoch(**one) for one in said["history"]]
