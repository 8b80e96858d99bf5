import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.graph import SPLITS, Triple
from mkg_builder.triples import Triples, read_triples

names = st.text(max_size=3)
facts = st.lists(
    st.builds(Triple, names, st.sampled_from("rst"), names, st.sampled_from("ab"), st.sampled_from([None, *SPLITS])),
    max_size=30,
)


@given(facts)
def test_columns_give_back_what_went_in(stated: list[Triple]) -> None:
    assert list(Triples.of(stated)) == stated


@given(facts)
def test_ids_are_in_byte_order(stated: list[Triple]) -> None:
    ids = Triples.of(stated).ids
    assert list(ids) == sorted(set(ids), key=str.encode) == sorted({end for t in stated for end in (t.head, t.tail)})


@given(facts)
def test_the_order_is_that_of_head_relation_tail_and_source(stated: list[Triple]) -> None:
    triples = Triples.of(stated)
    ordered = [(t.head, t.relation, t.tail, t.source) for t in triples.where(triples.order())]
    assert ordered == sorted((t.head, t.relation, t.tail, t.source) for t in stated)


@given(facts)
def test_keys_are_equal_where_facts_are(stated: list[Triple]) -> None:
    keys = Triples.of(stated).keys().tolist()
    plain = [(t.head, t.relation, t.tail) for t in stated]
    assert [[a == b for b in keys] for a in keys] == [[a == b for b in plain] for a in plain]


@given(facts, st.dictionaries(names, names))
def test_renaming_is_what_it_is_one_by_one(stated: list[Triple], new: dict[str, str]) -> None:
    renamed = [Triple(new.get(t.head, t.head), t.relation, new.get(t.tail, t.tail), t.source, t.split) for t in stated]
    assert list(Triples.of(stated).renamed(new)) == renamed


@given(facts, facts)
def test_joining_is_putting_behind_each_other(some: list[Triple], more: list[Triple]) -> None:
    assert list(Triples.of(some).joined(Triples.of(more))) == some + more


@given(facts, names)
def test_restated_facts_have_new_tails_and_the_others_stay(stated: list[Triple], tail: str) -> None:
    triples = Triples.of(stated)
    chosen = triples.of_relation({"r"})
    new = triples.restated(chosen, dict.fromkeys(range(len(triples.ids)), tail), "new")
    expected = [Triple(t.head, "new", tail, t.source, t.split) if t.relation == "r" else t for t in stated]
    assert list(new) == expected


@given(facts)
def test_tables_are_read_as_the_facts_that_were_written(stated: list[Triple]) -> None:
    triples = Triples.of(stated)
    empty = pa.table({name: pa.array([], pa.string()) for name in ("head", "relation", "tail", "source")})
    batches = list(triples.batches(7))
    read = read_triples({"train": pa.Table.from_batches(batches) if batches else empty, "test": empty})
    assert list(read) == [Triple(t.head, t.relation, t.tail, t.source, "train") for t in stated]


@given(facts)
def test_counts_and_names_are_those_of_a_plain_count(stated: list[Triple]) -> None:
    triples = Triples.of(stated)
    assert triples.count() == {r: n for r in "rst" if (n := sum(t.relation == r for t in stated))}
    ends = [end for t in stated for end in (t.head, t.tail)]
    assert triples.occurrences().tolist() == [ends.count(name) for name in triples.ids]
