"""The language of questions: what is understood, and what is refused with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.errors import UnknownNameError, UsageError
from tests.vlkge_contracts import make_dataset
from vlkge.query_language import Atom, Binder, Query, Term, parse

DATASET = make_dataset({
    "train": [
        ("artwork:a", "by", "artist:m"), ("artwork:b", "by", "artist:n"), ("artist:m", "pupilOf", "artist:n"),
        ("artwork:a", "in", "style:s"), ("artist:m", "of", "style:s"),
    ],
})  # fmt: skip


def x(name: str) -> Term:
    return Term(name, True)


def e(entity: str) -> Term:
    return Term(entity, False)


@pytest.mark.parametrize(
    ("text", "branches"),
    [
        ("?x: by(?x, artist:m)", [[Atom("by", x("?x"), e("artist:m"))]]),
        (" ?x :by( ?x,artist:m ) ", [[Atom("by", x("?x"), e("artist:m"))]]),
        ("?x: a(?x, ?y), b(c, ?y)", [[Atom("a", x("?x"), x("?y")), Atom("b", e("c"), x("?y"))]]),
        ("?x: a(?x, c) | b(?x, d)", [[Atom("a", x("?x"), e("c"))], [Atom("b", x("?x"), e("d"))]]),
        ("?x: a(?x, c), b(?x, d) | a(?x, f)",
         [[Atom("a", x("?x"), e("c")), Atom("b", x("?x"), e("d"))], [Atom("a", x("?x"), e("f"))]]),
        ("?x: (a(?y, c) | b(?y, d)), p(?x, ?y)",
         [[Atom("a", x("?y"), e("c")), Atom("p", x("?x"), x("?y"))],
          [Atom("b", x("?y"), e("d")), Atom("p", x("?x"), x("?y"))]]),
        ('?x: a(?x, "place:Bath, \\"the\\" (UK)")', [[Atom("a", x("?x"), e('place:Bath, "the" (UK)'))]]),
        ("?x: a(?x, artist:hilma-af-klint/no.7_ÅÖ)", [[Atom("a", x("?x"), e("artist:hilma-af-klint/no.7_ÅÖ"))]]),
    ],
)  # fmt: skip
def test_a_question_is_read(text: str, branches: list[list[Atom]]) -> None:
    assert parse(text) == Query("?x", tuple(map(tuple, branches)))


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "expected a variable such as ?x, got the end"),
        ("by(?x, artist:m)", 1, "expected a variable such as ?x, got 'by'"),
        ("?x by(?x, artist:m)", 4, "expected ':', got 'by'"),
        ("?x: by(?x artist:m)", 11, "expected a comma, got 'artist:m'"),
        ("?x: by(?x, artist:m))", 21, "expected a comma, '|' or the end, got ')'"),
        ("?x: by(?x, artist:m", 20, "expected ')', got the end"),
        ("?x: by(?x, ?y),", 16, "expected a name or '(', got the end"),
        ("?x: by(?x, ) ", 12, "expected a variable such as ?x or a name, got ')'"),
        ('?x: by(?x, "m)', 12, "expected a variable such as ?x or a name, got '\"'"),
        ('?x: by(?x, "\\q")', 12, "is not quoted as in JSON"),
        ("?x:\n by(?x, ?y, ?z)", 15, "expected ')', got ','"),
        ("?x: in(?y, style:s)", 5, "says of ?x nothing"),
        ("?x: pupilOf(?x, ?y)", 5, "says of ?y nothing that leads to an entity"),
        ("?x: pupilOf(?x, ?x)", 5, "leads back to ?x"),
        ("?x: pupilOf(?x, ?y), pupilOf(?y, ?x)", 22, "leads back to ?y"),
        ("?x: pupilOf(?x, ?y), pupilOf(?x, ?z), pupilOf(?y, ?z)", 39, "leads back to ?z"),
        ("?x: pupilOf(?x, artist:n), by(?z, artist:n)", 28, "is not joined with ?x"),
        ("?x: by(?x, style:s)", 12, "by has a tail of type 'artist', style:s is of type 'style'"),
        ("?x: by(?x, artist:m), of(?x, style:s)", 5, "of type 'artwork' in by(?x, artist:m) and of type 'artist'"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_column_and_an_example(text: str, column: int, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Binder(DATASET).bind(parse(text))
    message = str(caught.value)
    assert message.startswith(f"question, column {column}: ")
    assert said in message
    assert "; example: ?x: isPupilOf(" in message
    assert "\n" not in message


def test_an_unknown_name_is_named_with_its_column_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown relation in column 5 'pupilof'; did you mean 'pupilOf'"):
        Binder(DATASET).bind(parse("?x: pupilof(?x, artist:m)"))
    with pytest.raises(UnknownNameError, match="unknown entity in column 17 'artist:mm'; did you mean 'artist:m'"):
        Binder(DATASET).bind(parse("?x: pupilOf(?x, artist:mm)"))


def test_branches_about_different_types_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\?x is of type artist and artwork in different branches"):
        Binder(DATASET).bind(parse("?x: by(?x, artist:m) | pupilOf(?x, artist:m)"))


def test_ands_of_many_ors_are_refused_before_they_are_multiplied_out() -> None:
    either = "(a(?x, c) | b(?x, d))"
    with pytest.raises(UsageError, match="more than 64 combinations"):
        parse("?x: " + ", ".join([either] * 40))


def test_parentheses_that_are_nested_too_deep_are_refused() -> None:
    with pytest.raises(UsageError, match="nested too deep"):
        parse("?x: " + "(" * 5000 + "a(?x, c)" + ")" * 5000)


NAMES = st.text(min_size=1).map(lambda text: text.replace("\x7f", ""))
TERMS = st.one_of(
    st.builds(Term, NAMES, st.just(False)), st.builds(Term, st.from_regex(r"\A\?[a-zé_0-9]+\Z"), st.just(True))
)
BRANCHES = st.lists(st.lists(st.builds(Atom, NAMES, TERMS, TERMS), min_size=1, max_size=3), min_size=1, max_size=3)


@given(BRANCHES)
def test_a_question_that_is_written_and_read_is_the_same(branches: list[list[Atom]]) -> None:
    query = Query("?x", tuple(map(tuple, branches)))
    assert parse(str(query)) == query


@given(st.text(alphabet='?xy:(),| "\\ab', max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        assert parse(str(parse(text))) == parse(text)
    except UsageError as error:
        assert "\n" not in str(error)
