import pytest

from mkg_builder.errors import DataError
from mkg_builder.graph import Entity, Relation, Triple
from mkg_builder.knowledge_graph import KnowledgeGraph
from mkg_builder.triples import Triples

ENTITIES = {e: Entity(e, e.partition(":")[0], e) for e in ("artwork:a", "artist:x")}
RELATIONS = {"by": Relation("by", "artwork", "artist")}
BY = Triple("artwork:a", "by", "artist:x", "s")


def test_a_graph_that_fits_together_is_accepted() -> None:
    graph = KnowledgeGraph(ENTITIES, RELATIONS, Triples.of([BY]))
    assert (graph.triples.count(), graph.count_entities()) == ({"by": 1}, {"artwork": 1, "artist": 1})


@pytest.mark.parametrize(
    ("triples", "said"),
    [
        ((Triple("artwork:a", "of", "artist:x", "s"),), "undeclared relation"),
        ((Triple("artwork:b", "by", "artist:x", "s"),), "'artwork:b', which is no entity"),
        ((Triple("artist:x", "by", "artwork:a", "s"),), "is of type 'artist', by wants 'artwork'"),
        ((BY, BY), "stated twice"),
    ],
)
def test_a_graph_that_does_not_is_refused(triples: tuple[Triple, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        KnowledgeGraph(ENTITIES, RELATIONS, Triples.of(triples))


def test_an_entity_whose_id_says_another_type_is_refused_though_no_triple_names_it() -> None:
    stranger = {"artwork:b": Entity("artwork:b", "artist", "B")}
    with pytest.raises(DataError, match="'artwork:b' is of type 'artist', so its id must begin with 'artist:'"):
        KnowledgeGraph({**ENTITIES, **stranger}, RELATIONS, Triples.of([BY]))
