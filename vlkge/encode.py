"""A release becomes a features folder: each picture and each text through an encoder, resumable after a kill."""

import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from mkg_builder import schema
from mkg_builder.errors import UsageError
from mkg_builder.lock import locked
from mkg_builder.picture import PictureError, decode_picture
from vlkge.dataset import Dataset, load_folder
from vlkge.encoders import Encoder, EncoderInfo, Input, Modality, Vectors, encode_texts, resolve_encoders
from vlkge.errors import DatasetError, FeaturesError
from vlkge.features import DatasetIdentity, ModalityFeatures, Skipped, require_replaceable, save_features
from vlkge.files import read_sealed_json, read_tensors, require_place, write_sealed_json, write_tensors
from vlkge.parallel import ALONE, Group
from vlkge.pretrained import find_device
from vlkge.published import PUBLISHED, published_features
from vlkge.sentences import sentences_for

DEFAULT_ENCODERS = ("color-texture", "char-ngrams")
PART_ITEMS = 512
"""How many pictures or texts a part file holds: what a kill can lose."""

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode; none of it changes the vectors by more than rounding.

    Attributes:
        batch_size: how many inputs the encoder is given at once.
        device: "cpu", "cuda" or "auto" (cuda where there is one).
    """

    batch_size: int = 32
    device: str = "auto"


@dataclass(frozen=True)
class ModalityReport:
    """What came of one modality: how many entities have a vector now, which were skipped, what was done before."""

    encoder: EncoderInfo
    encoded: int
    skipped: tuple[Skipped, ...]
    resumed: int

    def reasons(self) -> list[str]:
        """Why entities were skipped, the commonest first: a line per reason, whatever numbers stand in it."""
        alike: dict[str, list[Skipped]] = {}
        for one in self.skipped:
            alike.setdefault(re.sub(r"\d[\d,]*", "#", one.reason), []).append(one)
        ordered = sorted(alike.values(), key=len, reverse=True)
        return [f"{len(them):,} skipped ({them[0].id} first): {them[0].reason}" for them in ordered]


@dataclass(frozen=True)
class EncodeReport:
    """What came of a release: where its features lie, and one report per modality."""

    folder: Path
    modalities: tuple[ModalityReport, ...]


@dataclass(frozen=True)
class _Part:
    """What a run of neighbouring inputs gave."""

    ids: tuple[str, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...]


def encode_release(
    release: Path,
    specs: Sequence[str],
    out: Path,
    options: EncodeOptions = EncodeOptions(),
    progress: Progress = lambda _stage, _done, _total: None,
) -> EncodeReport:
    """Encode every picture and every text of a release into the features folder `out`.

    A picture that does not decode and a text without a letter are skipped: their entity has no vector,
    and the folder says why. Finished parts lie in `OUT.parts` until the folder is whole; after a kill
    the same command goes on from there. Under torchrun the processes share the parts.

    Args:
        release: a release folder; every byte of it is verified first.
        specs: encoders, at most one per modality; none for `DEFAULT_ENCODERS`;
            `published` for the vectors that the release carries.
        out: a new place, or a features folder to replace.
        options: batch size and device.
        progress: told of the modality, how many are done, of how many.

    Raises:
        UsageError: two encoders of one modality, an unknown one or an unknown device, or `out` is something else.
        DatasetError: the release is not valid, or was published without the pictures that are to be encoded.
    """
    require_replaceable(out)
    parts = require_place(out).with_name(f"{out.resolve().name}.parts")
    encoders = _resolve([spec for spec in specs or DEFAULT_ENCODERS if spec != PUBLISHED], options)
    dataset = load_folder(release)
    features = published_features(release, dataset) if PUBLISHED in specs else []
    reports = [ModalityReport(given.info, len(given.ids), (), 0) for given in features]
    group = Group.join()
    with _alone(parts, group):
        for encoder in encoders:
            with group.first_alone():
                found = _Parts(parts / encoder.modality, encoder, dataset, options.batch_size)
            inputs, total = _inputs(release, dataset, encoder)
            if group.size > 1:
                deque(_watched(found.run(inputs, group), encoder.modality, total, progress), maxlen=0)
                inputs, total = _inputs(release, dataset, encoder)
            shared = group.sum(torch.tensor(found.resumed))  # and all processes are here
            if group.rank == 0:
                made = _join(encoder, dataset, _watched(found.run(inputs), encoder.modality, total, progress))
                resumed = found.resumed if group.size == 1 else int(shared)
                features.append(made)
                reports.append(ModalityReport(made.info, len(made.ids), made.skipped, resumed))
        if group.rank == 0:
            save_features(out, features)
            shutil.rmtree(parts, ignore_errors=True)
    return EncodeReport(out, tuple(reports))


@contextmanager
def _alone(parts: Path, group: Group) -> Iterator[None]:
    """Nobody else encodes into this place, for the parts of two would be mixed; all begin and end together."""
    if group.rank == 0:
        parts.mkdir(parents=True, exist_ok=True)
    with locked(parts) if group.rank == 0 else nullcontext():
        group.wait()
        yield
        group.wait()


def _resolve(specs: Sequence[str], options: EncodeOptions) -> list[Encoder]:
    find_device(options.device)
    by_modality: dict[Modality, Encoder] = {}
    for given in specs:  # a folder of this machine is found again from any other folder
        spec = re.sub("(?<=:local-dir:).+", lambda found: str(Path(found[0]).expanduser().absolute()), given)
        for encoder in resolve_encoders(spec, options.device):
            other = by_modality.setdefault(encoder.modality, encoder)
            if other is not encoder:
                raise UsageError(f"{other.spec} and {spec} both encode {encoder.modality}; name one of them")
    return list(by_modality.values())


def _inputs(release: Path, dataset: Dataset, encoder: Encoder) -> tuple[Iterator[tuple[str, Any]], int]:
    """Each entity with its picture's bytes or its sentence, always in the same order, and how many there are."""
    if encoder.modality == "image":
        _require_pictures(release)
        flags = schema.read_table(release, "entities", columns=["has_image"])["has_image"]
        return schema.iter_pictures(release), pc.sum(flags).as_py() or 0
    sentences = sentences_for(encoder, dataset)
    return iter(sentences.items()), len(sentences)


def _require_pictures(release: Path) -> None:
    """Refuse a release that was published without its pictures: it says that they exist, and holds none."""
    absent = schema.read_manifest(release).get("without_pictures")
    if absent is not None:
        whole = absent.get("whole")
        hint = (
            f"encode {whole}: the features fit this one too" if whole else "name an encoder of text alone (--encoder)"
        )
        raise DatasetError(f"{release} was published without its pictures; {hint}")


def _watched(parts: Iterable[_Part], stage: str, total: int, progress: Progress) -> Iterator[_Part]:
    done = 0
    progress(stage, done, total)
    for part in parts:
        yield part
        done += len(part.ids) + len(part.skipped)
        progress(stage, done, total)


def _join(encoder: Encoder, dataset: Dataset, parts: Iterable[_Part]) -> ModalityFeatures:
    found = list(parts)
    ids = [entity for part in found for entity in part.ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    vectors = np.concatenate([part.vectors for part in found] or [np.empty((0, encoder.dimension), np.float32)])
    skipped = tuple(skipped for part in found for skipped in part.skipped)
    identity = DatasetIdentity.of(dataset)
    return ModalityFeatures(encoder.info(), identity, tuple(ids[i] for i in order), vectors[order], skipped)


def _prepare(modality: Modality, entity: str, value: Any) -> Input | Skipped:
    if modality == "text":
        return str(value) if value.strip() else Skipped(entity, "its text is blank")
    try:
        return decode_picture(value, "its picture")
    except PictureError as error:
        return Skipped(entity, str(error))


class _Parts:
    """The finished parts of one encoder on one release, in a folder; other people's are thrown away."""

    def __init__(self, folder: Path, encoder: Encoder, dataset: Dataset, batch_size: int) -> None:
        self._folder, self._encoder, self._batch_size = folder, encoder, batch_size
        self.resumed = 0
        key = {"encoder": asdict(encoder.info()), "dataset": asdict(DatasetIdentity.of(dataset)), "items": PART_ITEMS}
        if self._read_json(folder / "key.json") != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_sealed_json(folder / "key.json", key)

    def run(self, inputs: Iterator[tuple[str, Any]], group: Group = ALONE) -> Iterator[_Part]:
        """The parts of this process, of those that share the work, in order; read where finished, else encoded."""
        for number in count():
            place = self._folder / f"{number:06d}"
            items = islice(inputs, PART_ITEMS)
            if number % group.size != group.rank:
                if not any([True for _ in items]):  # noqa: C419 - all of them are to be passed over
                    return
                continue
            part = self._read(place)
            if part is not None:
                self.resumed += sum(1 for _ in items)
            else:
                part = self._encode(items)
                if not part.ids and not part.skipped:
                    return
                self._write(place, part)
            yield part

    def _encode(self, items: Iterator[tuple[str, Any]]) -> _Part:
        ids: list[str] = []
        skipped: list[Skipped] = []
        rows = [np.empty((0, self._encoder.dimension), np.float32)]
        text = self._encoder.modality == "text"
        while pairs := list(islice(items, PART_ITEMS if text else self._batch_size)):
            batch: list[Any] = []
            for entity, value in pairs:
                prepared = _prepare(self._encoder.modality, entity, value)
                if isinstance(prepared, Skipped):
                    skipped.append(prepared)
                else:
                    ids.append(entity)
                    batch.append(prepared)
            if batch:
                encode = self._encoder.encode
                rows.append(encode_texts(encode, batch, self._batch_size) if text else encode(batch))
        return _Part(tuple(ids), np.concatenate(rows), tuple(skipped))

    def _write(self, place: Path, part: _Part) -> None:
        digest = write_tensors(place.with_suffix(".safetensors"), {"vectors": torch.from_numpy(part.vectors)})
        skipped = [asdict(one) for one in part.skipped]
        # written last: a part is finished when its JSON is there
        write_sealed_json(place.with_suffix(".json"), {"ids": part.ids, "skipped": skipped, "vectors": digest})

    def _read(self, place: Path) -> _Part | None:
        said = self._read_json(place.with_suffix(".json"))
        if said is None:
            return None
        try:
            vectors = read_tensors(place.with_suffix(".safetensors"), said["vectors"], FeaturesError, "")["vectors"]
        except FeaturesError:
            return None
        return _Part(tuple(said["ids"]), vectors.numpy(), tuple(Skipped(**one) for one in said["skipped"]))

    def _read_json(self, path: Path) -> dict[str, Any] | None:
        try:
            return read_sealed_json(path, FeaturesError, "")
        except FeaturesError:
            return None
