"""Explanations: the nearest of training by brute force, and scores with one modality left out."""

from pathlib import Path

import pytest
import torch

from mkg_builder.errors import UsageError
from tests import painted
from vlkge.explain import Explainer
from vlkge.predict import Outside, Predictor, Subject


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> Predictor:
    place = tmp_path_factory.mktemp("explain")
    release = painted.write_release(place / "release", "1.0.0", whole=True)
    return Predictor(painted.train_run(place / "run", release, place / "features", 3))


def outside(predictor: Predictor, folder: Path, text: str | None = "Study abc") -> Subject:
    (folder / "new.png").write_bytes(painted.picture(3, 77))
    return predictor.outside(Outside(folder / "new.png", text))


def test_the_nearest_of_a_picture_are_artworks_of_train_by_cosine(predictor: Predictor, tmp_path: Path) -> None:
    dataset, model, subject = predictor.dataset, predictor.model, outside(predictor, tmp_path)
    why = Explainer(predictor, count=4).explain(subject, {})
    trained = [e for e, seen in enumerate(dataset.seen().tolist()) if seen and dataset.types[e] == "artwork"]
    with torch.no_grad():
        vectors, mine = model.real(torch.tensor(trained)), model.real.outside(subject.raw, unseen=True)
    cosines = torch.nn.functional.cosine_similarity(vectors, mine)
    best = sorted(zip((-cosines).tolist(), trained, strict=True))[:4]
    assert [one.entity for one in why.nearest] == [dataset.entities[entity] for _, entity in best]
    assert [one.cosine for one in why.nearest] == pytest.approx([-cosine for cosine, _ in best], rel=1e-5)


def test_an_entity_is_no_neighbour_of_itself(predictor: Predictor) -> None:
    why = Explainer(predictor, count=300).explain(predictor.entity("artwork:03-0"), {})
    names = {one.entity for one in why.nearest}
    assert "artwork:03-0" not in names
    assert len(names) == painted.PAINTERS * 7 - 1


def test_the_score_without_the_text_is_that_of_the_picture_alone(predictor: Predictor, tmp_path: Path) -> None:
    both, alone = outside(predictor, tmp_path), outside(predictor, tmp_path, text=None)
    answers = predictor.answers([both], "isBy", top=3)[0]
    why = Explainer(predictor).explain(both, {"isBy": answers})
    of_picture = {p.entity: p.score for p in predictor.answers([alone], "isBy", top=20)[0]}
    assert why.modalities == ("image", "text")
    assert why.without["isBy"]["text"] == pytest.approx([of_picture[p.entity] for p in answers], rel=1e-5)
    assert why.without["isBy"]["image"] != pytest.approx(why.without["isBy"]["text"], rel=1e-2)


def test_one_modality_alone_is_said_to_be_all_there_is(predictor: Predictor, tmp_path: Path) -> None:
    alone = outside(predictor, tmp_path, text=None)
    why = Explainer(predictor).explain(alone, {"isBy": predictor.answers([alone], "isBy")[0]})
    assert (why.modalities, why.without) == (("image",), {})


def vector(predictor: Predictor, subject: Subject, without: str | None = None) -> torch.Tensor:
    """What a subject is scored by, one modality left out where that is asked for."""
    with predictor.model.real.without([without] if without else [], torch.tensor([True])):
        return predictor._vector(subject, without)


def test_an_entity_without_a_modality_is_scored_by_its_other_one(predictor: Predictor) -> None:
    work, model = predictor.entity("artwork:03-0"), predictor.model  # its text is encoded, its vector shared
    raw = {name: torch.from_numpy(features.align([work.name])[0]) for name, features in predictor.run.features.items()}
    with torch.no_grad():
        for left_out, kept in (("text", "image"), ("image", "text")):
            expected = model.represent_outside({kept: raw[kept]}, unseen=True)
            torch.testing.assert_close(vector(predictor, work, left_out), expected)
            assert not torch.allclose(vector(predictor, work), expected)


def test_the_free_imaginary_part_goes_with_the_structural_modality(predictor: Predictor) -> None:
    painter = predictor.entity("artist:painter-00")
    assert Explainer(predictor).explain(painter, {}).modalities == ("structural",)
    assert vector(predictor, painter).any()
    assert not vector(predictor, painter, "structural").any()


def test_a_thing_of_no_type_is_asked_what_it_is(predictor: Predictor) -> None:
    with pytest.raises(UsageError, match=r"--type: artist, artwork, style"):
        Explainer(predictor).explain(Subject("it", None, None, {}), {})


def test_where_nobody_of_a_type_was_learned_from_nobody_is_near(predictor: Predictor) -> None:
    explainer = Explainer(predictor)
    explainer._seen["artwork"] = torch.empty(0, dtype=torch.int64)
    assert explainer.explain(predictor.entity("artwork:03-0"), {}).nearest == ()
