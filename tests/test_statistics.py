from mkg_builder.graph import Entity, Relation, Triple
from mkg_builder.knowledge_graph import KnowledgeGraph
from mkg_builder.statistics import Availability, availability, entity_splits
from mkg_builder.triples import Triples

ENTITIES = {
    "artwork:a": Entity("artwork:a", "artwork", "a", image="k"),
    "artwork:b": Entity("artwork:b", "artwork", "b", text="t", image="k"),
    "artwork:c": Entity("artwork:c", "artwork", "c"),
    "artist:x": Entity("artist:x", "artist", "x", text="X"),
}
FACTS = {
    "train": (Triple("artwork:a", "by", "artist:x", "s"),),
    "validation": (),
    "test": (Triple("artwork:b", "by", "artist:x", "s"),),
}
SPLITS = {split: Triples.of(facts) for split, facts in FACTS.items()}
GRAPH = KnowledgeGraph(
    ENTITIES, {"by": Relation("by", "artwork", "artist")}, Triples.of(FACTS["train"] + FACTS["test"])
)


def test_an_entity_belongs_to_the_first_split_that_names_it() -> None:
    assert entity_splits(SPLITS) == {"artwork:a": "train", "artist:x": "train", "artwork:b": "test"}


def test_availability_counts_entities_and_triples() -> None:
    assert availability(GRAPH, SPLITS) == [
        Availability("entity_type", "artist", "train", "text", 1, 1),
        Availability("entity_type", "artwork", "none", "none", 1, 1),
        Availability("entity_type", "artwork", "test", "image+text", 1, 1),
        Availability("entity_type", "artwork", "train", "image", 1, 1),
        Availability("relation", "by", "test", "image+text→text", 1, 1),
        Availability("relation", "by", "train", "image→text", 1, 1),
    ]
