import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.names import label_key, look_alikes, mixed_scripts, normalise, slug

ONE_NAME = [
    ("Andr\u00e9 Lhote", "Andre\u0301 Lhote"),  # NFC, NFD
    ("Claude Monet", "CLAUDE MONET"),
    ("Claude Monet", "Claude Mo\u200bnet"),  # a blank of no width
    ("Claude Monet", "\u202aClaude\u202c Monet"),  # marks of direction
    ("Claude Monet", "Claude\u00a0Monet"),
    ("Claude Monet", "  Claude   Monet "),
    ("Claude Monet", "Claude\uffff Monet"),  # not a character
    ("Flavio Fiore", "\ufb02avio \ufb01ore"),  # ligatures
    ("Istanbul", "\u0130stanbul"),  # Turkish
    ("Strasse", "Straße"),
    ("d'Orsay", "d&#39;Orsay"),
    ("ガラス", "ｶﾞﾗｽ"),  # of half the width
    ("김환기", "\u1100\u1175\u11b7\u1112\u116a\u11ab\u1100\u1175"),  # syllables in their letters
    ("משה", "מֹשֶׁה"),  # points
    ("محمد", "مُحَمَّد"),  # vowels
    ("a" * 10_000, "A" * 10_000),
]
"""Two spellings of one name each."""

TOLD_APART_BY_A_MARK = [
    ("กิน", "กัน"), ("はら", "ばら"), ("ガラス", "カラス"), ("राम", "रीम"), ("रीम", "रूम"), ("কি", "কী"), ("บ้าน", "บาน"),
]  # fmt: skip
"""Two words each, of Thai, Japanese, Hindi and Bengali."""

LOOK_ALIKES = [
    ("Claude Monet", "Сlaude Monet"),  # Cyrillic Es
    ("Paul Gauguin", "Pаul Gauguin"),  # Cyrillic a
    ("Ivan Mrkvicka", "Ivan Mrkvi\u0441ka"),  # Cyrillic Es, as WikiArt has it
    ("Edvard Munch", "Εdvard Munch"),  # Greek Epsilon
]
"""Names that differ in letters of another script which are drawn alike."""


def looks_like(one: str, other: str) -> bool:
    return look_alikes([one, other]) != []


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        ("Caf&#233; at  Night", "Café at Night"), ("Japan's\xa0(Camille)", "Japan's (Camille)"),
        ("Monet\uffff Claude", "Monet Claude"), ("van Gogh Vincent ", "van Gogh Vincent"),
        ("e\u0301tude\u200b", "étude"),
        ("Mo\u200bnet", "Monet"), ("Mo\xadnet", "Monet"), ("e\u200d\u0301", "é"), ("tab\there", "tab here"),
        ("\u202eevil\x1b[31m", "evil [31m"), ("None", "None"), ("", ""), (" \u3000\u200b ", ""),
        ("x" * 10_000, "x" * 10_000), ("R&eacute;n&#xE9; &amp; Co", "Réné & Co"), ("Art&notes", "Art&notes"),
        ("?a=1&copy=2&#39", "?a=1&copy=2&#39"), ("&notit; &nosuch;", "&notit; &nosuch;"), ("&notin;", "∉"),
        (f"&#{'9' * 9000};", f"&#{'9' * 9000};"),
    ],
)  # fmt: skip
def test_names_are_tidied(raw: str, tidy: str) -> None:
    assert normalise(raw) == tidy


@given(st.text())
def test_tidying_twice_changes_nothing_unless_it_decodes_more(text: str) -> None:
    once = normalise(text.replace("&", ""))
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Rosa × centifolia", "rosa-centifolia"), ("Naïve Art (Primitivism)", "naive-art-primitivism"), ("  ", ""),
     ("Ар-деко", "ар-деко"), ("female_portraits", "female-portraits"), ("ﬁne art", "fine-art")],
)  # fmt: skip
def test_slugs(name: str, expected: str) -> None:
    assert slug(name) == expected
    assert slug(expected) == expected


@pytest.mark.parametrize(("one", "other"), TOLD_APART_BY_A_MARK)
def test_names_that_differ_in_a_mark_that_is_as_much_as_a_letter_are_two_and_ids_keep_it(one: str, other: str) -> None:
    assert label_key(one) != label_key(other)
    assert (slug(one), slug(other)) == (one, other)


def test_in_latin_greek_and_cyrillic_every_mark_is_left_out() -> None:
    scripts = ("LATIN", "GREEK", "CYRILLIC", "COMBINING CYRILLIC")
    characters = [c for c in map(chr, range(0xE000)) if unicodedata.name(c, "").startswith(scripts)]
    for name in [f"a{c}b" for c in (*characters, *map(chr, range(0x300, 0x34F)), "\u20dd", "\u1dc4", "\ufe20")]:
        bare = unicodedata.normalize("NFKD", name).casefold()
        letters = "".join(c for c in bare if not unicodedata.combining(c))
        assert slug(name) == "-".join(re.findall(r"\w+", letters)), name


@pytest.mark.parametrize(("one", "other"), ONE_NAME)
def test_two_spellings_of_one_name_have_one_key(one: str, other: str) -> None:
    assert label_key(one) == label_key(other) != ""
    assert not looks_like(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("Henry Moore", "Albert Moore"), ("Monet Claude", "Claude Monet"), *LOOK_ALIKES]
)
def test_two_names_have_two_keys(one: str, other: str) -> None:
    assert label_key(one) != label_key(other)
    assert looks_like(one, other) == ((one, other) in LOOK_ALIKES)


@given(st.text(st.characters(codec="ascii")).filter(lambda text: "&" not in text))
def test_the_key_of_a_plain_name_is_what_it_is_beside_an_accent(text: str) -> None:
    assert label_key(f"é {text}") == f"e {label_key(text)}".strip()


@given(st.text().filter(lambda text: "&" not in text))
def test_the_key_of_a_key_is_itself(text: str) -> None:
    assert label_key(label_key(text)) == label_key(text)


@pytest.mark.parametrize(("one", "other"), LOOK_ALIKES)
def test_letters_of_another_script_are_seen(one: str, other: str) -> None:
    assert looks_like(one, other)
    assert [mixed_scripts(one), mixed_scripts(other)] == [False, True]


@pytest.mark.parametrize(
    "name", ["Claude Monet", "Клод Моне", "Όμηρος", "草間彌生 Yayoi", "Рим Rome", "André 2nd", "Μ. Antonio", "π²", ""]
)
def test_a_name_in_one_script_or_in_two_words_of_two_is_honest(name: str) -> None:
    assert not mixed_scripts(name)


def test_the_look_alikes_listed_are_those_planted() -> None:
    honest = ["Henry Moore", "Albert Moore", "Клод Моне", "", "  ", *(name for pair in ONE_NAME for name in pair)]
    planted = [name for pair in LOOK_ALIKES for name in pair]
    groups = look_alikes([*honest, *planted, *planted])
    assert [sorted(set(group) & set(planted)) for group in groups] == sorted(sorted(pair) for pair in LOOK_ALIKES)
    assert [group for group in groups if not set(group) & set(planted)] == []


@given(st.lists(st.text(max_size=5)))
def test_any_names_can_be_compared_in_any_order(names: list[str]) -> None:
    assert look_alikes(names) == look_alikes(reversed(names))
    assert all(looks_like(group[0], other) or label_key(group[0]) == label_key(other)
               for group in look_alikes(names) for other in group)  # fmt: skip


@given(st.lists(st.text(st.sampled_from("aAcoCО\u0430\u0410\u0441\u0421\u03bf\u0131i é;&#1072"), max_size=4)))
def test_every_two_names_that_look_alike_are_listed(names: list[str]) -> None:
    groups = look_alikes(names)
    found = {(one, other) for group in groups for one in group for other in group if label_key(one) != label_key(other)}
    assert found == {(one, other) for one in names for other in names if looks_like(one, other)}
