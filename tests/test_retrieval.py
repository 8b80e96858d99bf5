"""Retrieval: the nearest equal brute force, lists are judged as their definitions say, commands say what they did."""

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from mkg_builder.errors import DataError, UnknownNameError, UsageError
from tests.test_vlkge_cli import told, vlkge
from tests.vlkge_contracts import make_dataset, make_features
from vlkge.config import Experiment
from vlkge.entity_vectors import encoded_vectors, fused_vectors, vectors_of_type
from vlkge.model import build_model
from vlkge.retrieve import (
    Request,
    by_cosine,
    by_relation,
    choose_attributes,
    choose_type,
    common_attributes,
    related,
    retrieve,
)
from vlkge.tasks import retrieval
from vlkge.tasks.metrics import average_precision
from vlkge.tasks.retrieval import Attribute, judge, nearest, nearest_approximately

STYLES, YEARS = ("cubism", "fauvism", "pop-art"), ("1871", "1899", "1850-1900", "1912")
WORKS = [f"artwork:{i:02d}" for i in range(30)]
FACTS = [
    fact
    for i, work in enumerate(WORKS)
    for fact in (
        (work, "hasStyle", f"style:{STYLES[i % 3]}"), (work, "hasStyle", f"style:{STYLES[i % 2]}"),
        (work, "madeIn", f"year:{YEARS[i % 4]}"), (work, "isRelatedTo", WORKS[(i * 7) % 30]),
    )
]  # fmt: skip
GRAPH = make_dataset({"train": list(dict.fromkeys(FACTS[:60])), "test": list(dict.fromkeys(FACTS[60:]))})
DATASET = replace(GRAPH, labels=tuple(entity.partition(":")[2] for entity in GRAPH.entities))
FEATURES = {"image": make_features(DATASET, "image", WORKS, 5)}
VECTORS = encoded_vectors(DATASET, FEATURES, "image")


def random_vectors(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block", [3, 1000])
def test_the_nearest_are_those_of_brute_force_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "POOL_AT_ONCE", block)
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", block)
    queries, pool = random_vectors(11, 4, 0), random_vectors(40, 4, 1)
    places, cosines = nearest(queries, pool, 7)
    brute = torch.cosine_similarity(queries[:, None], pool[None], dim=-1)
    assert places.tolist() == brute.argsort(1, descending=True)[:, :7].tolist()
    torch.testing.assert_close(cosines, brute.gather(1, places))


def test_a_query_does_not_find_itself_and_equal_ones_keep_their_order() -> None:
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    places, cosines = nearest(pool[:1], pool, 4, torch.tensor([0]))
    assert places.tolist() == [[2, 3, 1, -1]]
    assert cosines[0, :3].tolist() == [1.0, 1.0, 0.0]


def test_an_approximate_search_finds_nearly_all_of_the_exact_one() -> None:
    pytest.importorskip("faiss")
    pool = random_vectors(500, 16, 0)
    own = torch.arange(100)
    exact, _ = nearest(pool[:100], pool, 10, own)
    found, cosines = nearest_approximately(pool[:100], pool, 10, own)
    assert not (found == own[:, None]).any()
    assert (found[:, :, None] == exact[:, None]).any(1).float().mean() > 0.95
    torch.testing.assert_close(cosines, torch.cosine_similarity(pool[:100, None], pool[found], dim=-1))


def test_a_long_list_is_filled_exactly_where_the_clusters_hold_too_few() -> None:
    pytest.importorskip("faiss")
    pool = random_vectors(500, 16, 0)
    found, _ = nearest_approximately(pool[:3], pool, 499, torch.arange(3))
    assert found.tolist() == nearest(pool[:3], pool, 499, torch.arange(3))[0].tolist()


def test_without_faiss_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'vlkge\[faiss\]'"):
        nearest_approximately(random_vectors(3, 2, 0), random_vectors(3, 2, 1), 1)


def test_average_precision_is_scikit_learns() -> None:
    relevant = torch.rand(50, 9, generator=torch.Generator().manual_seed(0)) < 0.3
    expected = [average_precision_score(row, range(9, 0, -1)) if row.any() else 0.0 for row in relevant.numpy()]
    assert average_precision(relevant).tolist() == pytest.approx(expected)


def test_lists_are_judged_as_a_loop_over_sets_judges_them() -> None:
    attributes = choose_attributes(DATASET, "artwork")
    asked = torch.tensor([DATASET.entity_index(work) for work in WORKS[15:]])
    lists = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(i))[:6] for i in range(15)])
    found = judge(asked, lists, attributes, VECTORS.vectors)
    known: dict[tuple[str, int], set[object]] = {}
    for head, relation, tail in torch.cat(list(DATASET.triples.values())).tolist():
        value = {"1871": 37, "1899": 37, "1850-1900": 37, "1912": 38}.get(DATASET.labels[tail], tail)
        known.setdefault((DATASET.relations[relation], head), set()).add(value)
    precision = {name: [] for name in ("hasStyle", "madeIn")}
    differing = []
    for query, listed in zip(asked.tolist(), lists.tolist(), strict=True):
        for name, values in precision.items():
            hits = [bool(known[name, query] & known[name, one]) for one in listed]
            at = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
            values.append(sum(at) / len(at) if at else 0.0)
        pairs = [(name, a, b) for a, b in combinations(listed, 2) for name in precision]
        differing.append(np.mean([not known[name, a] & known[name, b] for name, a, b in pairs]))
    assert found.precision_average == pytest.approx({name: np.mean(values) for name, values in precision.items()})
    assert found.attribute_diversity == pytest.approx(np.mean(differing))
    cosines = [torch.cosine_similarity(VECTORS.vectors[a], VECTORS.vectors[b], dim=0).item()
               for listed in lists.tolist() for a, b in combinations(listed, 2)]  # fmt: skip
    assert found.cosine_diversity == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_things_without_a_vector_do_not_count_for_the_cosine_diversity() -> None:
    attribute = Attribute("all", torch.arange(4), torch.zeros(4, dtype=torch.int64))
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    lists = torch.tensor([[1, 2, 3]])
    assert judge(torch.tensor([0]), lists, [attribute], vectors).cosine_diversity == 1.0
    assert judge(torch.tensor([0]), lists, [attribute], torch.zeros(4, 2)).cosine_diversity is None


def test_an_attribute_that_few_have_judges_only_when_it_is_named() -> None:
    attributes = choose_attributes(DATASET, "artwork")
    few = attributes[0].things[:9]
    rare = Attribute("rare", few, torch.zeros_like(few))
    common = common_attributes(DATASET, by_cosine(VECTORS), [*attributes, rare], "artwork")
    assert [one.name for one in common] == ["hasStyle", "madeIn"]
    with pytest.raises(UsageError, match=r"none of rare is stated of 50% .* name one with --attribute"):
        common_attributes(DATASET, by_cosine(VECTORS), [rare], "artwork")


def test_relations_to_another_type_are_attributes_and_years_are_periods() -> None:
    attributes = {attribute.name: attribute for attribute in choose_attributes(DATASET, "artwork")}
    assert set(attributes) == {"hasStyle", "madeIn"}
    assert set(attributes["madeIn"].values.tolist()) == {37, 38}
    with pytest.raises(UsageError, match="starts at artwork, not at style"):
        choose_attributes(DATASET, "style", ["hasStyle"])
    with pytest.raises(UnknownNameError, match="'hasStyle'"):
        choose_attributes(DATASET, "artwork", ["hasStile"])
    with pytest.raises(UnknownNameError, match="'artwork'"):
        choose_type(DATASET, "artworks")


def test_a_type_without_pictures_is_compared_by_its_texts() -> None:
    features = {**FEATURES, "text": make_features(DATASET, "text", ["style:cubism"], 3)}
    assert vectors_of_type(DATASET, features, "artwork").source == "image vectors of seeded"
    assert vectors_of_type(DATASET, features, "style").source == "text vectors of seeded"
    assert vectors_of_type(DATASET, features, "year") is None


def test_a_retriever_that_knows_the_attributes_beats_the_random_order() -> None:
    ids = [DATASET.entity_index(work) for work in WORKS]
    vectors = VECTORS.vectors.clone()
    vectors[ids, :3] = torch.eye(3)[torch.arange(30) % 3] * 50
    knowing = by_cosine(type(VECTORS)("known", vectors, VECTORS.present))
    attributes = choose_attributes(DATASET, "artwork", ["hasStyle"])
    result = retrieve(DATASET, knowing, VECTORS, attributes, Request("artwork", pool="all", top=5))
    assert result.metrics.mean_precision_average == 1.0
    assert result.random.mean_precision_average < 0.95
    assert (result.about["queries"], result.about["candidates"]) == (15, 30)


def test_an_entity_of_train_in_a_held_out_triple_is_not_of_the_split() -> None:
    first, last = DATASET.entity_index(WORKS[0]), DATASET.entity_index(WORKS[29])
    held_out = torch.tensor([[first, DATASET.relation_index("isRelatedTo"), last]])
    larger = replace(DATASET, triples={**DATASET.triples, "test": torch.cat([DATASET.triples["test"], held_out])})
    attributes = choose_attributes(larger, "artwork", ["hasStyle"])
    for dataset in (DATASET, larger):
        result = retrieve(dataset, by_cosine(VECTORS), VECTORS, attributes, Request("artwork", top=5))
        assert (result.about["queries"], result.about["candidates"]) == (15, 15)


def test_random_lists_hold_neither_the_query_nor_anything_twice() -> None:
    from vlkge.retrieve import _random_lists

    pool = torch.tensor([3, 5, 8, 9])
    for seed in range(20):
        lists = _random_lists(torch.tensor([5, 9]), pool, 3, seed)
        assert [sorted(found) for found in lists.tolist()] == [[3, 8, 9], [3, 5, 8]]


class Trained:
    """As much of a run as a retriever asks for."""

    folder, dataset = Path("run"), DATASET

    def load_model(self):
        config = Experiment(dataset="x", model={"dim": 4, "modalities": ["image"], "scorer": "distmult"}).model
        return build_model(config, DATASET, FEATURES, 0).eval()


def test_a_relations_scorer_lists_its_likeliest_tails() -> None:
    run = Trained()
    model, retriever = run.load_model(), by_relation(run, "isRelatedTo")
    pool = torch.tensor([DATASET.entity_index(work) for work in WORKS])
    found, scores = retriever.find(pool[:2], pool, 4)
    index = DATASET.relation_index("isRelatedTo")
    for row, head in enumerate(pool[:2].tolist()):
        tails = [tail for tail in pool.tolist() if tail != head]
        one_by_one = [model.scorer.score(model.represent(torch.tensor([head])), model.relations[index],
                                         model.represent(torch.tensor([tail]))).item() for tail in tails]  # fmt: skip
        order = np.argsort(one_by_one)[::-1][:4]
        assert found[row].tolist() == [tails[i] for i in order]
        assert scores[row].tolist() == pytest.approx([one_by_one[i] for i in order], rel=1e-4)
    with pytest.raises(UsageError, match="those that do: isRelatedTo"):
        by_relation(run, "hasStyle")


def test_a_run_has_fused_vectors_of_those_alone_of_which_it_knows_something() -> None:
    run = Trained()
    fused = fused_vectors(run)
    assert [DATASET.entities[i] for i in fused.present.nonzero()[:, 0]] == WORKS
    assert torch.equal(fused.vectors, run.load_model().represent_all(torch.arange(len(DATASET.entities))))
    assert fused.source == "fused vectors of run (image)"


def test_the_nearest_of_one_entity_say_what_they_share() -> None:
    found = related(DATASET, by_cosine(VECTORS), choose_attributes(DATASET, "artwork"), WORKS[0], 29)
    assert [one.rank for one in found] == list(range(1, 30))
    assert {one.entity for one in found} == set(WORKS[1:])
    shares = {one.entity: one.shares for one in found}
    assert (shares["artwork:04"], shares["artwork:11"]) == (("hasStyle", "madeIn"), ())
    with pytest.raises(DataError, match="style:cubism has no vector"):
        related(DATASET, by_cosine(VECTORS), [], "style:cubism", 3)
    with pytest.raises(UnknownNameError, match="'artwork:01'"):
        related(DATASET, by_cosine(VECTORS), [], "artwork:001", 3)


@pytest.fixture(scope="module")
def room(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo release with its features."""
    place = tmp_path_factory.mktemp("retrieval")
    (place / "release").symlink_to(demo_release)
    told("encode", "release", "--encoder", "char-ngrams", cwd=place)
    return place


def test_the_command_judges_related_artists_beside_a_random_order(room: Path) -> None:
    options = ("retrieve", "release", "--type", "artist", "--pool", "all", "--top", 5)
    result = told(*options, "--attribute", "hasNationality", cwd=room)
    assert result["precision_average"].keys() == {"hasNationality"}
    assert result["retriever"] == "cosine of text vectors of char-ngrams"
    assert 0 < result["baselines"]["random"]["mean_precision_average"] < 1
    done = vlkge(*options, cwd=room)
    assert done.returncode == 0
    for word in ("AP@5", "mAP@5", "diversity by attributes", "random order"):
        assert word in done.stdout


def test_the_command_lists_the_nearest_of_an_entity(room: Path) -> None:
    found = told("retrieve", "release", "--of", "artist:claude-monet", "--top", 3, cwd=room)
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert all(row["entity"].startswith("artist:") for row in found)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("release", "--of", "artist:claude-manet"), 2, "'artist:claude-monet'?"),
        (("release", "--type", "artits"), 2, "'artist'?"),
        (("release", "--split", "tset"), 2, "'test'?"),
        (("release", "--type", "place"), 2, "no entity of type place has a vector"),
        (("release", "--type", "style"), 2, "no relation leads from style"),
        (("release", "--attribute", "hasStyl"), 2, "'hasStyle'?"),
        (("release", "--relation", "isPupilOf"), 2, "the scorer of a --run"),
        (("release", "--run", "run"), 2, "leave RELEASE"),
        ((), 2, "give a RELEASE"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(room: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = vlkge("retrieve", *arguments, cwd=room)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_lists_are_judged_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = choose_attributes(DATASET, "artwork")
    asked = torch.tensor([DATASET.entity_index(work) for work in WORKS[15:]])
    lists = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(i))[:6] for i in range(15)])
    whole = judge(asked, lists, attributes, VECTORS.vectors)
    monkeypatch.setattr(retrieval, "PAIRS_AT_ONCE", 1)
    assert judge(asked, lists, attributes, VECTORS.vectors) == whole


def test_an_attribute_that_is_named_twice_counts_once() -> None:
    assert [one.name for one in choose_attributes(DATASET, "artwork", ["hasStyle", "hasStyle"])] == ["hasStyle"]
