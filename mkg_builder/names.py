"""Names: tidied for people, cut down to ids and to keys, and compared for letters that only look alike."""

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from html.entities import html5

_INVISIBLE = re.compile(r"[\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
LAYERS = 8
"""A text in which entities are encoded more often is no name, and keeps them."""
_ENTITY = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|([A-Za-z][A-Za-z0-9]{0,31}));")
"""Ends with a semicolon: browsers read `&copy=2` as an entity too, but in a name nobody means it so."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


def normalise(text: str) -> str:
    """A name as people would type it: entities decoded, NFC, no invisible characters, single blanks.

    What has no width goes without a trace, so that it cannot cut a name in two; a control character becomes a blank.
    A tidy name stays as it is: entities that were encoded several times (`&amp;amp;`) are decoded to the last.
    """
    bare = decoded = _tidy(text)
    for _ in range(LAYERS):
        previous, decoded = decoded, _tidy(_ENTITY.sub(_decoded, decoded))
        if decoded == previous:
            return decoded
    return bare


def _decoded(entity: re.Match[str]) -> str:
    return html5.get(f"{entity[1]};", entity[0]) if entity[1] else html.unescape(entity[0])


def _tidy(text: str) -> str:
    visible = _UNSEEN.sub(" ", _INVISIBLE.sub("", text))
    return " ".join(composed(visible).split())


def composed(text: str) -> str:
    """A text as it is compared: what one program writes as letter and accent is one sign to another."""
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=100_000)  # tags and styles repeat by the thousand
def slug(name: str) -> str:
    """The name as the second half of an id: lower case, accents off, words joined by hyphens."""
    return "-".join(_words(name))


def label_key(text: str) -> str:
    """What two spellings of one name share: lower case; accents, punctuation and ligatures off; words in their order.

    Empty for a name without a letter or a figure: no two such names are one.
    """
    return " ".join(_words(text))


_ACCENTS = re.compile(
    "["
    "\u0300-\u036f\u1ab0-\u1abd\u1abf-\u1aff\u1dc0-\u1dff\u20d0-\u20dc\u20e1\u20e5-\u20f0\ufe20-\ufe2f"  # Latin, Greek
    "\u0483-\u0487\u2de0-\u2dff\ua66f\ua674-\ua67d\ua69e\ua69f"  # Cyrillic
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670"  # Hebrew, Arabic: mostly not written
    "\u180b-\u180d\u180f\U000e0100-\U000e01ef"  # which shape of a letter is meant
    "]"
)
"""The marks that one may leave out. Others tell words apart: the vowels of Thai and Hindi, ga from ka in Japanese."""


def _words(name: str) -> list[str]:
    if name.isascii() and "&" not in name:  # nothing to decode, compose or take off; most names are so
        return re.findall(r"\w+", name.lower().replace("_", " "))
    bare = unicodedata.normalize("NFKD", normalise(name)).casefold()
    letters = unicodedata.normalize("NFC", _ACCENTS.sub("", bare)).replace("_", " ")
    words = "".join(map(_letter, letters)).split()
    return [word for word in words if any(map(str.isalnum, word))]  # a mark alone is none


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    """What stands for a character in a word: itself, or a blank where it parts two."""
    return character if character.isalnum() or unicodedata.category(character) in ("Mn", "Mc") else " "


_TWINS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονı",
    "ABESIJKMHOPCTYXaesijopcyxdhqw" + "ABEZHIKMNOPTYXovi",
)
"""Letters of Cyrillic, then of Greek and Turkish, that most typefaces draw like a Latin one."""


def _plain(name: str) -> bool:
    """Whether a name holds no letter that is not Latin, nor the dotless i: most are seen to at a glance."""
    return max(name, default="") < "\u0370" and "ı" not in name and "&" not in name  # what is encoded counts too


def mixed_scripts(text: str) -> bool:
    """Whether a word of the name is written in letters of more than one of Latin, Cyrillic and Greek.

    No honest word is: a letter was mistyped, or put there to deceive.
    """
    if _plain(text):
        return False
    return any(len({_script(c) for c in word} - {""}) > 1 for word in re.findall(r"[^\W\d_]+", normalise(text)))


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    script = unicodedata.name(character, "").partition(" ")[0]
    return script if script in ("LATIN", "CYRILLIC", "GREEK") else ""


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of names drawn alike whose keys differ: to be reported to people, never merged."""
    names = set(names)
    foreign = {_drawn(name) for name in names if _has_twins(name)}  # of each group one name at least has such a letter
    groups: dict[str, set[str]] = {}
    for name in names if foreign else ():
        if (drawn := _drawn(name)) in foreign:
            groups.setdefault(drawn, set()).add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len({label_key(name) for name in group}) > 1)


def _has_twins(name: str) -> bool:
    if _plain(name):
        return False
    tidy = normalise(name)
    return tidy != tidy.translate(_TWINS)


def _drawn(name: str) -> str:
    return label_key(name if _plain(name) else normalise(name).translate(_TWINS))
