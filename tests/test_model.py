"""The model: vectors out of the modalities that are there, for entities seen and unseen."""

import pytest
import torch

from tests.vlkge_contracts import make_dataset, make_features
from vlkge.config import ModelConfig
from vlkge.errors import ExperimentError
from vlkge.model import IMAGINARY_GAIN, KGEModel, build_model

ART = [f"artwork:{name}" for name in "abcdef"]
DATASET = make_dataset({
    "train": [(art, "by", f"artist:{i % 2}") for i, art in enumerate(ART[:4])] + [("artist:0", "near", "artist:1")],
    "test": [(art, "by", "artist:0") for art in ART[4:]],
})  # fmt: skip
FEATURES = {
    "image": make_features(DATASET, "image", ART, 5),
    "text": make_features(DATASET, "text", ["artist:0", "artwork:a"], 4),
}
ALL = torch.arange(len(DATASET.entities))


def model(seed: int = 0, **config) -> KGEModel:
    settings = ModelConfig(**{"scorer": "distmult", "dim": 3, "modalities": ["structural", "image", "text"]} | config)
    return build_model(settings, DATASET, FEATURES, seed)


def index(*entities: str) -> torch.Tensor:
    return torch.tensor([DATASET.entity_index(entity) for entity in entities])


def test_artworks_share_one_free_vector_and_artists_have_their_own() -> None:
    vectors, present = model().real.modalities["structural"](ALL)
    assert present.all()
    kinds = dict(zip(DATASET.entities, map(tuple, vectors.tolist()), strict=True))
    assert len({kinds[art] for art in ART}) == 1
    assert len(set(kinds.values())) == 3


def test_a_shared_vector_is_nothing_known_of_the_entity_itself() -> None:
    made = model(modalities=["structural"])
    assert made.real.has_any(index("artist:0", "artwork:a", "artwork:e")).tolist() == [True, False, False]


def test_the_papers_way_gives_every_entity_of_train_one_and_none_to_an_unseen() -> None:
    _, present = model(structural="own").real.modalities["structural"](ALL)
    assert {DATASET.entities[i] for i in ALL[~present]} == {"artwork:e", "artwork:f"}


def test_an_average_is_the_mean_of_what_the_entity_has() -> None:
    made = model().eval()
    free, _ = made.real.modalities["structural"](index("artist:0"))
    text, _ = made.real.modalities["text"](index("artist:0"))
    torch.testing.assert_close(made.represent(index("artist:0")), (free + text) / 2)


def test_statistics_are_those_of_train_and_bring_vectors_to_about_length_one() -> None:
    made = model().real.modalities["image"]
    raw = torch.from_numpy(FEATURES["image"].vectors)
    torch.testing.assert_close(made.mean, raw[:4].mean(0))
    standardised = (raw[:4] - made.mean) * made.scale
    assert standardised.square().sum(1).mean().item() == pytest.approx(1.0, abs=1e-5)


def test_a_component_that_is_constant_in_train_counts_as_nothing() -> None:
    vectors = FEATURES["image"].vectors.copy()
    vectors[:4, 2] = 7.0
    features = {"image": make_features(DATASET, "image", ART, 5)}
    object.__setattr__(features["image"], "vectors", vectors)
    config = ModelConfig(scorer="distmult", dim=3, modalities=["image"])
    assert build_model(config, DATASET, features, 0).represent(ALL).isfinite().all()
    assert build_model(config, DATASET, features, 0).real.modalities["image"].scale[2] == 0


def test_a_picture_from_outside_becomes_what_the_same_picture_in_the_graph_is() -> None:
    for scorer in ("distmult", "complex"):
        made = model(scorer=scorer).eval()
        raw = torch.from_numpy(FEATURES["image"].align(("artwork:e",))[0])
        found = made.represent_outside({"image": raw}, unseen=True)
        torch.testing.assert_close(found, made.represent(index("artwork:e")))


@pytest.mark.parametrize("scorer", ["distmult", "complex"])
@pytest.mark.parametrize("structural", ["shared", "own", "masked"])
def test_who_is_of_another_type_is_from_outside_what_an_unlearned_one_of_it_is(scorer: str, structural: str) -> None:
    learned = DATASET.seen()
    learned[index("artist:0", "artwork:a")] = False
    config = ModelConfig(scorer=scorer, dim=3, structural=structural, modalities=["structural", "text"])
    made = build_model(config, DATASET, FEATURES, 0, learned).eval()
    for entity, unseen in (("artist:0", False), ("artwork:a", True)):
        raw = torch.from_numpy(FEATURES["text"].align((entity,))[0])
        torch.testing.assert_close(made.represent_outside({"text": raw}, unseen), made.represent(index(entity)))
        with made.real.without(["structural"], torch.tensor([True])):
            torch.testing.assert_close(made.represent_outside({"text": raw}, unseen), made.represent(index(entity)))


def test_an_entity_without_anything_is_a_zero_vector_and_says_so() -> None:
    made = model(modalities=["text"])
    assert made.represent(index("artist:1")).tolist() == [[0.0] * 3]
    assert made.real.has_any(index("artist:0", "artist:1")).tolist() == [True, False]


def test_a_frozen_projection_has_no_parameter_and_keeps_lengths_on_average() -> None:
    made = model(projection="frozen", modalities=["image"], normalise="none", dim=4).eval()
    assert {name for name, _ in made.named_parameters()} == {"relations"}
    raw = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    projected = made.real.modalities["image"].project(raw)
    assert projected.square().sum().item() == pytest.approx(raw.square().sum().item(), rel=0.1)


@pytest.mark.parametrize("normalise", ["standardise", "l2", "none"])
def test_a_fitting_projection_is_trained_where_the_sizes_differ_and_none_where_they_are_equal(normalise: str) -> None:
    for dim, trained in ((4, True), (5, False), (6, True)):
        image = model(projection="fitting", normalise=normalise, dim=dim).real.modalities["image"]
        assert (image.projection is not None) == trained
        assert image.project(torch.ones(2, 5)).shape == (2, dim)


def test_dropout_changes_training_only_and_follows_the_generator() -> None:
    made = model(dropout=0.5, modalities=["image"])
    drawn = []
    for _ in range(2):
        made.train().draw_from(torch.Generator().manual_seed(3))
        drawn.append(made.represent(ALL))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], made.eval().represent(ALL))
    assert torch.equal(made.represent(ALL), made.represent(ALL))


def test_modality_dropout_leaves_every_entity_something_of_its_own() -> None:
    made = model(modality_dropout=0.5).real
    made.generator = torch.Generator().manual_seed(0)
    present = torch.tensor([[True, True, False, False], [True, False, True, False], [True, False, False, False]])
    left = torch.stack([made._without_some(present) for _ in range(300)])
    assert not (left & ~present).any()
    assert left.any(1).all(0).tolist() == [True, True, True, False]
    alone = left[:, :, 0].sum(1)
    assert {int(count) for count in alone} == {1, 2, 3}


def test_a_fused_imaginary_part_is_made_of_the_modalities_as_the_real_part_is() -> None:
    made = model(scorer="complex", imaginary="fused").eval()
    assert made.imaginary is None
    free, _ = made.real.modalities["structural"](index("artist:0"))
    text, _ = made.real.modalities["text"](index("artist:0"))
    assert free.shape == (1, 6)
    torch.testing.assert_close(made.represent(index("artist:0")), (free + text) / 2)
    wide = model(scorer="complex", imaginary="fused", fusion="concat", modalities=["structural", "text"]).eval()
    free, text = (wide.real.modalities[name](index("artist:0"))[0].chunk(2, dim=1) for name in ("structural", "text"))
    expected = torch.cat([free[0], text[0], free[1], text[1]], dim=1)
    torch.testing.assert_close(wide.represent(index("artist:0")), expected)


def test_the_imaginary_part_of_an_unseen_artwork_is_small_but_learns() -> None:
    made = model(scorer="complex").eval()
    real, imaginary = made.represent(index("artwork:e")).chunk(2, dim=-1)
    assert 0 < imaginary.norm().item() < 3 * IMAGINARY_GAIN * real.norm().item()
    imaginary.sum().backward()
    assert made.imaginary.map.grad.abs().max() > 0


def test_the_imaginary_part_of_an_artist_is_free() -> None:
    made = model(scorer="complex")
    made.represent(index("artist:1"))[:, 3:].sum().backward()
    assert made.imaginary.free.weight.grad.to_dense().tolist() == [[0.0] * 3, [1.0] * 3]


def test_an_entity_that_is_not_in_the_batch_gets_no_gradient() -> None:
    made = model()
    made.represent(index("artist:0", "artwork:a")).sum().backward()
    gradient = made.real.modalities["structural"].weight.grad
    assert gradient.is_sparse
    assert gradient.coalesce().indices().tolist() == [[0, 2]]  # the artist's own and the one that artworks share


def test_the_same_seed_gives_the_same_model_and_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = model(1).eval(), model(1).eval(), model(2).eval()
    assert torch.equal(first.represent(ALL), second.represent(ALL))
    assert not torch.equal(first.represent(ALL), other.represent(ALL))
    assert torch.equal(torch.get_rng_state(), before)


def test_in_pieces_or_at_once_is_the_same() -> None:
    made = model(scorer="complex", fusion="concat").eval()
    torch.testing.assert_close(made.represent_all(ALL, chunk=3), made.represent(ALL).detach())


def test_a_modality_that_the_features_lack_is_refused() -> None:
    with pytest.raises(ExperimentError, match="'image' is asked for, the features hold: none"):
        build_model(ModelConfig(modalities=["image"]), DATASET, {}, 0)
