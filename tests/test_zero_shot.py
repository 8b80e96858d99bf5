"""Zero-shot: ranks are those of cosines computed one by one; what shares no space is not compared."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mkg_builder.errors import UsageError
from tests.test_vlkge_cli import told, vlkge
from tests.vlkge_contracts import MatrixScores, make_dataset, make_features, random_dataset
from vlkge.encoders import Encoder, Vectors
from vlkge.errors import DatasetError, FeaturesError
from vlkge.evaluate import Evaluator
from vlkge.protocol import Reference, Strict
from vlkge.tasks.zero_shot import ZeroShotScores, ask
from vlkge.zero_shot import zero_shot


def vector_of(text: str, size: int = 6) -> np.ndarray:
    """A seeded vector of a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


class Reads(Encoder):
    """One side of a made-up model of pictures and texts."""

    name, revision, dimension, preprocessing = "twin", "1", 6, "none"

    def __init__(self, modality: str) -> None:
        self.modality = modality

    @classmethod
    def create(cls, argument: str, device: str) -> Sequence[Encoder]:
        return [cls("image"), cls("text")]

    def encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([vector_of(one) for one in batch])


TWIN = "tests.test_zero_shot:Reads"


def with_prompts(dataset, prompts: dict[str, str]):
    """The same graph, whose relations ask by these prompts."""
    info = {name: replace(one, prompt=prompts.get(name)) for name, one in dataset.relation_info.items()}
    return replace(dataset, relation_info=info)


def features_of(dataset, modality: str, ids: list[str], spec: str, dimension: int = 6):
    found = make_features(dataset, modality, ids, dimension)
    info = replace(found.info, spec=spec, name="twin", revision="1")
    return replace(found, info=info)


def brute(dataset, vectors: dict[str, np.ndarray]) -> MatrixScores:
    """Cosines of every head and every tail's sentence, one by one; 0 for heads without a vector."""
    table = torch.zeros(len(dataset.relations), len(dataset.entities), len(dataset.entities))
    for r, name in enumerate(dataset.relations):
        prompt = dataset.relation_info[name].prompt or "{}"
        for t, label in enumerate(dataset.labels):
            said = vector_of(prompt.replace("{}", label))
            for h, head in enumerate(dataset.entities):
                if head in vectors:
                    norms = np.linalg.norm(said) * np.linalg.norm(vectors[head])
                    table[r, h, t] = float(said @ vectors[head] / norms)
    return MatrixScores(table)


def of(features) -> dict[str, np.ndarray]:
    return dict(zip(features.ids, features.vectors, strict=True))


@pytest.mark.parametrize("protocol", [Strict(), Reference()], ids=["strict", "reference"])
@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_ranks_are_those_of_cosines_computed_one_by_one(setting: str, protocol) -> None:
    for seed in range(20):
        dataset = with_prompts(random_dataset(seed, setting), {"by": "It is by {}.", "near": "It is near {}."})
        pictures = features_of(dataset, "image", [e for e in dataset.entities if e.startswith("artwork")], TWIN)
        texts = features_of(dataset, "text", list(dataset.entities), TWIN)
        evaluator = Evaluator(dataset, "test", protocol)
        found = zero_shot(evaluator, {"image": pictures, "text": texts})
        expected = evaluator.summarise(evaluator.rank(brute(dataset, of(texts) | of(pictures))))
        assert found.model == expected


def test_a_candidate_head_without_a_vector_comes_last_and_a_head_asked_about_ties_all() -> None:
    dataset = random_dataset(3, "transductive")
    present = torch.ones(len(dataset.entities), dtype=torch.bool)
    present[0] = False
    heads = torch.randn(len(dataset.entities), 6) * present[:, None]
    scores = ZeroShotScores(dataset, heads, present, lambda texts: np.stack([vector_of(text) for text in texts]))
    everything = torch.arange(len(dataset.entities))
    assert scores.score("tail", 0, torch.tensor([0]), everything).tolist() == [[0.0] * len(everything)]
    assert scores.score("head", 0, torch.tensor([1]), everything)[0].argmin() == 0


def test_equal_sentences_tie_exactly_and_each_is_read_once() -> None:
    dataset = make_dataset({"train": [("artwork:1", "by", f"artist:{i}") for i in range(40)]})
    dataset = replace(dataset, labels=tuple("same" if e.startswith("artist") else e for e in dataset.entities))
    read: list[str] = []

    def encode(texts: Sequence[str]) -> Vectors:
        read.extend(texts)
        return np.stack([vector_of(text, 700) for text in texts])

    scores = ZeroShotScores(dataset, torch.randn(41, 700), torch.ones(41).bool(), encode)
    tails = torch.arange(40)
    first, second = (scores.score("tail", 0, torch.tensor([40]), part) for part in (tails[:7], tails))
    assert len(first.unique()) == len(second.unique()) == 1
    assert read == ["same"]


def test_a_relation_without_a_prompt_asks_by_the_label_and_one_without_a_place_for_it_is_refused() -> None:
    dataset = make_dataset({"train": [("artwork:1", "by", "artist:a")]})
    assert ask(dataset, 0, torch.tensor([0])) == ["artist:a"]
    assert ask(with_prompts(dataset, {"by": "By {}."}), 0, torch.tensor([0])) == ["By artist:a."]
    with pytest.raises(DatasetError, match="has no "):
        ask(with_prompts(dataset, {"by": "By somebody."}), 0, torch.tensor([0]))


TRAIN = [("artwork:1", "by", "artist:a"), ("artwork:2", "by", "artist:b")]
GRAPH = make_dataset({"train": TRAIN, "test": [("artwork:3", "by", "artist:a")]})


def test_pictures_are_compared_where_one_model_made_both_or_the_user_vouches_for_it() -> None:
    evaluator = Evaluator(GRAPH, "test", Strict())
    pictures = features_of(GRAPH, "image", ["artwork:3"], TWIN)
    texts = features_of(GRAPH, "text", ["artwork:3"], TWIN)
    both = zero_shot(evaluator, {"image": pictures, "text": texts}).about["zero_shot"]
    assert both["heads"] == {"asked": 1, "by_picture": 1, "by_text": 0, "without": 0}
    assert "pictures are compared" in both["pictures"]
    published = features_of(GRAPH, "image", ["artwork:3"], "published:clip")
    vouched = zero_shot(evaluator, {"image": published}, TWIN).about["zero_shot"]
    assert vouched["heads"]["by_picture"] == 1


def test_pictures_of_another_space_are_left_out_and_the_result_says_so() -> None:
    evaluator = Evaluator(GRAPH, "test", Strict())
    pictures = features_of(GRAPH, "image", ["artwork:3"], "color-texture")
    texts = features_of(GRAPH, "text", ["artwork:3"], TWIN)
    about = zero_shot(evaluator, {"image": pictures, "text": texts}).about["zero_shot"]
    assert about["heads"] == {"asked": 1, "by_picture": 0, "by_text": 1, "without": 0}
    assert about["pictures"] == f"pictures are left out: color-texture and {TWIN} do not share a space"
    with pytest.raises(FeaturesError, match="no head of the test split has a text"):
        zero_shot(evaluator, {"image": pictures, "text": features_of(GRAPH, "text", ["artist:a"], TWIN)})


def test_texts_of_another_encoder_of_the_same_size_are_not_compared() -> None:
    evaluator, texts = Evaluator(GRAPH, "test", Strict()), features_of(GRAPH, "text", ["artwork:3"], "published:bert")
    with pytest.raises(FeaturesError, match="no head of the test split has a text"):
        zero_shot(evaluator, {"text": texts}, TWIN)


def test_what_cannot_be_read_with_is_refused() -> None:
    evaluator = Evaluator(GRAPH, "test", Strict())
    wide = features_of(GRAPH, "image", ["artwork:3"], "published:clip", 9)
    with pytest.raises(UsageError, match="nothing says how to read"):
        zero_shot(evaluator, {"image": wide})
    with pytest.raises(UsageError, match="has 9 components"):
        zero_shot(evaluator, {"image": wide}, TWIN)
    with pytest.raises(UsageError, match="color-texture encodes no text"):
        zero_shot(evaluator, {"image": wide}, "color-texture")
    with pytest.raises(UsageError, match="device 'gpu' is not here"):
        zero_shot(evaluator, {"image": wide}, TWIN, "gpu")


@pytest.fixture(scope="module")
def room(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo release with the features of its texts."""
    place = tmp_path_factory.mktemp("zero-shot")
    (place / "release").symlink_to(demo_release)
    told("encode", "release", "--encoder", "char-ngrams", cwd=place)
    return place


def test_the_command_prints_what_evaluate_prints_and_what_was_compared(room: Path) -> None:
    done = vlkge("zero-shot", "release", cwd=room)
    assert done.returncode == 0
    for word in ("isCreatedByArtist", "Hits@10", "chance MRR", "frequent MRR"):
        assert word in done.stdout
    assert "there are no picture vectors" in done.stderr
    result = told("zero-shot", "release", "--protocol", "reference", "--split", "validation", cwd=room)
    assert (result["protocol"]["name"], result["split"]) == ("reference", "validation")
    assert set(result["baselines"]) == {"chance", "most_frequent"}
    assert result["zero_shot"]["reader"] == "char-ngrams"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("release", "--protocol", "strickt"), 2, "'strict'?"),
        (("release", "--split", "tset"), 2, "'test'?"),
        (("release", "--text-encoder", "char-ngram"), 2, "'char-ngrams'?"),
        (("release", "--features", "nowhere"), 4, "vlkge encode"),
        (("nowhere",), 2, "neither a folder nor"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(room: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = vlkge("zero-shot", *arguments, cwd=room)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
