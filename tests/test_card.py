"""The card: front matter that any YAML reader gives back as it was, a body that no name can break out of."""

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard

from mkg_builder import schema
from mkg_builder.card import Contents, render_card
from mkg_builder.statistics import Availability
from tests.tiny_recipe import tiny_recipe

SNAPSHOT = {"sha256": "f" * 64, "answers": 1234, "first": 1_795_219_200, "last": 1_795_305_600}
CONTENTS = Contents(
    entities={"artist": 3, "artwork": 60},
    triples={"train": {"hasStyle": 44, "isCreatedByArtist": 44}, "validation": {"hasStyle": 6}, "test": {}},
    availability=[Availability("entity_type", "artwork", "train", "image", 40, 60)],
    dropped={"require_image": 7},
    filled={"triples": ("train", "validation"), "entities": ("full",)},
)
HOSTILE = (
    "None", "yes", "1e5", "01", "null", "~", "a: b # c", "- a", "---\nlicense: x\n---\n", "'\"", "nul\x00", "\x1e\x85",
    "\u2028", "</script><img onerror>", "\u202egnp", "{{7*7}}", "[x](javascript:alert)", "|", "日本 🎨", " ",
    "*a &b !c", "a" * 300,
)  # fmt: skip


def card(**changes: object) -> str:
    return render_card(tiny_recipe(**changes), "1.2.3", (), CONTENTS, SNAPSHOT)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_comes_back_from_the_front_matter_as_it_was(title: str) -> None:
    text = card(title=title, license_name=title, tags=[title])
    read = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])
    assert (read["pretty_name"], read["license_name"], read["license"]) == (title, title, "cc0-1.0")
    assert title in read["tags"]
    assert DatasetCard(text).data.to_dict()["pretty_name"] == title


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_name_stays_in_its_line_and_its_cell(title: str) -> None:
    plain, hostile = (
        card(title=t, license_name=t, biases=[t], images={"license": t}, citation=t).partition("\n# ")[2]
        for t in ("plain", title)
    )
    parts = [section(text, name) for text in (plain, hostile) for name in ("Licence", "Known biases")]
    assert [part.count("\n") for part in parts[:2]] == [part.count("\n") for part in parts[2:]]
    assert hostile.count("\n## ") == plain.count("\n## ")
    plain, hostile = (text.partition("\n## Citation\n")[0] for text in (plain, hostile))  # a code block, as it is
    assert len(re.findall(r"(?<!\\)\|", hostile)) == len(re.findall(r"(?<!\\)\|", plain))
    assert not re.search(r"<img|\[x\]\(|[\x00\x1e\x85\u202e]", hostile)


def test_the_licence_of_the_pictures_stands_apart_from_the_facts() -> None:
    apart = section(card(images={"license": "x-terms", "license_link": "https://x.example/terms"}), "Licence")
    assert "| facts, names and texts | cc0-1.0 |" in apart
    assert "| pictures | x-terms `https://x.example/terms` |" in apart
    assert "| pictures | the same |" in section(card(), "Licence")
    types = {name: {} for name in ("artwork", "artist", "style", "timeframe")}
    assert "pictures" not in section(card(types=types), "Licence")


def test_provenance_names_sources_endpoints_snapshot_and_dates() -> None:
    sources = {"site": {"use": "tests.tiny_recipe:Works", "endpoints": {"api": "https://x.example/a_b|c"}}}
    provenance = section(card(sources=sources), "Provenance")
    assert "| site | `tests.tiny_recipe:Works` | `https://x.example/a_b%7Cc` |" in provenance
    assert "1,234 answers, the first of 2026-11-21, the last of 2026-11-22 (UTC)" in provenance
    assert f"`{'f' * 64}`" in provenance
    assert "no host" in section(card(), "Provenance")


def test_each_type_says_how_its_text_and_picture_were_made() -> None:
    rows = section(card(), "How each modality was made")
    assert "| artwork | what the source says of it | what the source shows of it |" in rows
    assert "| artist | its label | none |" in rows
    assert "| style | none | none |" in rows
    assert "NFC" in rows
    assert "character for character" in section(card(cleaning={"normalise_names": False}), "How each modality was made")


def test_counts_splits_drops_biases_and_citation_are_told() -> None:
    text = card(biases=["One *bias*.", "Another."])
    assert "| hasStyle | artwork | style | 44 | 6 | 0 |" in section(text, "Relations")
    assert "train 88, validation 6, test 0 triples." in section(text, "Splits")
    assert "no artwork of validation or test occurs in any training triple." in section(text, "Splits")
    assert "| require\\_image | 7 |" in section(text, "What was dropped")
    assert section(text, "Known biases") == "\n- One \\*bias\\*.\n- Another.\n"
    assert section(text, "Citation") == "\n    Tiny | <b>graph</b>, version 1.2.3\n"
    assert section(card(), "Known biases").strip() == "The recipe states none."


def test_every_table_that_has_rows_is_a_config_and_every_table_is_described() -> None:
    text = card()
    read = yaml.safe_load(text.split("---\n")[1])
    assert [config["config_name"] for config in read["configs"]] == ["triples", "entities"]
    assert all(f"| `{table}` |" in section(text, "Tables") for table in schema.TABLES)


def test_the_template_lies_where_the_package_looks_for_it() -> None:
    from mkg_builder.card import template_folder

    assert (Path(template_folder()) / "TEMPLATE.md").is_file()
