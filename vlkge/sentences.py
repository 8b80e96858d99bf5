"""The sentences that a text encoder reads of a graph's entities."""

from vlkge.dataset import Dataset
from vlkge.encoders import Encoder
from vlkge.encoders_joined import BETWEEN
from vlkge.errors import DatasetError


def sentences_for(encoder: Encoder, dataset: Dataset) -> dict[str, str]:
    """What this text encoder reads of each entity that has a text; an empty one where the text is blank.

    Raises:
        DatasetError: as `text_sentences`.
    """
    sentences = text_sentences(dataset)
    if not encoder.reads_labels:
        return sentences
    labels = dict(zip(dataset.entities, dataset.labels, strict=True))
    return {
        entity: " ".join(labels[entity].split()) + BETWEEN + text if text else "" for entity, text in sentences.items()
    }


def text_sentences(dataset: Dataset) -> dict[str, str]:
    """What a text encoder reads of each entity that has a text: its type's prompt around it, or the text alone.

    Raises:
        DatasetError: a prompt has no `{}` for the text, so that all entities of the type would read the same.
    """
    for kind, info in dataset.type_info.items():
        if info.prompt is not None and "{}" not in info.prompt:
            raise DatasetError(
                f"the prompt of type {kind!r}, {info.prompt!r}, has no {{}}; mend the recipe, build again"
            )
    sentences = {}
    for entity, kind, text in zip(dataset.entities, dataset.types, dataset.texts, strict=True):
        if text is not None:
            prompt = dataset.type_info[kind].prompt or "{}"
            # a blank text stays blank, so that its prompt alone is not taken for it
            sentences[entity] = prompt.replace("{}", text) if text.strip() else ""
    return sentences
