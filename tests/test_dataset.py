"""A release becomes a data set of integers, or says what is wrong with it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import HfApi

from mkg_builder import schema
from mkg_builder.errors import DataError, UnknownNameError, UpstreamError, UsageError
from tests.local_hub import Hub
from tests.tiny_release import picture_bytes, write_manifest, write_tiny_release
from vlkge.cli import main
from vlkge.dataset import Dataset, find_release, load_dataset, load_folder
from vlkge.errors import DatasetError
from vlkge.files import read_sealed_json, write_sealed_json
from vlkge.run import load_run

TRAIN = [("artwork:b", "madeBy", "artist:é"), ("artwork:a", "hasStyle", "style:x"), ("artwork:a", "madeBy", "artist:z")]
SPLITS = {"train": TRAIN, "validation": [("artwork:c", "madeBy", "artist:z")],
          "test": [("artwork:d", "hasStyle", "style:x")]}  # fmt: skip


@pytest.fixture
def release(tmp_path: Path) -> Path:
    pictures = {"artwork:a": picture_bytes(0)}
    return write_tiny_release(tmp_path / "release", SPLITS, pictures, {"artist:z": "Zoë"}, prompts={"artist": "By {}"})


def rewrite(release: Path, table: str, split: str, change: dict[str, Any], row: int = 0) -> Path:
    """Change cells of one row of a table, and the manifest with them."""
    path = release / schema.shard_path(table, split)
    rows = pq.read_table(path).to_pylist()
    rows[row] |= change
    nullable = pa.schema([field.with_nullable(True) for field in schema.TABLES[table].columns])
    pq.write_table(pa.Table.from_pylist(rows, nullable), path, write_page_checksum=True)
    manifest = json.loads((release / schema.MANIFEST).read_text())
    write_manifest(release, {key: manifest[key] for key in ("name", "version", "recipe")})
    return release


def test_an_entity_s_index_is_the_rank_of_its_id_in_byte_order(release: Path) -> None:
    entities = load_folder(release).entities
    assert entities == tuple(sorted(entities, key=str.encode))
    assert entities[:2] == ("artist:z", "artist:é")


def test_the_order_of_a_release_s_rows_does_not_matter(release: Path) -> None:
    before = load_folder(release)
    path = release / schema.shard_path("entities", "full")
    rows = pq.read_table(path)
    pq.write_table(rows.take(list(reversed(range(len(rows))))), path, write_page_checksum=True)
    after = load_folder(rewrite(release, "entities", "full", {}))
    assert (after.entities, after.labels, after.texts) == (before.entities, before.labels, before.texts)


def test_integers_name_the_triples_that_were_written(release: Path) -> None:
    dataset = load_folder(release)
    for split, facts in SPLITS.items():
        named = [(dataset.entities[h], dataset.relations[r], dataset.entities[t])
                 for h, r, t in dataset.triples[split].tolist()]  # fmt: skip
        assert named == facts


def test_entities_carry_their_label_type_and_text(release: Path) -> None:
    dataset = load_folder(release)
    index = dataset.entity_index("artist:z")
    assert (dataset.labels[index], dataset.types[index], dataset.texts[index]) == ("Z", "artist", "Zoë")
    assert dataset.texts[dataset.entity_index("artwork:a")] is None


def test_aliases_are_names_and_survive_saving(release: Path, tmp_path: Path) -> None:
    dataset = load_folder(rewrite(release, "entities", "full", {"aliases": ["Alpha", "A"]}))
    assert dataset.aliases == {"artist:z": ["Alpha", "A"]}
    assert dataset.names()[dataset.entity_index("artist:z")] == ("Z", "Alpha", "A")
    assert dataset.names()[dataset.entity_index("artwork:a")] == ("A",)
    (tmp_path / "saved").mkdir()
    dataset.save(tmp_path / "saved")
    assert Dataset.load(tmp_path / "saved").names() == dataset.names()


def test_the_manifest_s_identity_setting_and_prompts_are_known(release: Path) -> None:
    dataset = load_folder(release)
    manifest = schema.read_manifest(release)
    assert (dataset.name, dataset.version, dataset.revision) == ("tiny", "1.0.0", None)
    assert dataset.content_sha256 == manifest["content_sha256"]
    assert (dataset.setting, dataset.unseen_type) == ("inductive", "artwork")
    assert (dataset.type_info["artist"].prompt, dataset.type_info["style"].prompt) == ("By {}", None)
    assert (dataset.relation_info["madeBy"].domain, dataset.relation_info["madeBy"].range) == ("artwork", "artist")


def test_what_the_release_and_its_recipe_say_of_a_relation_is_known(release: Path) -> None:
    path = release / schema.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["recipe"]["split"]["disjoint"] = ["hasStyle"]
    rewrite(release, "relations", "full", {"evaluated": False, "functional": True})
    write_manifest(release, {key: manifest[key] for key in ("name", "version", "recipe")})
    told = {
        name: (info.evaluated, info.functional, info.disjoint)
        for name, info in load_folder(release).relation_info.items()
    }
    assert told == {"hasStyle": (False, True, True), "madeBy": (True, False, False)}


def test_seen_means_in_a_train_triple(release: Path) -> None:
    dataset = load_folder(release)
    unseen = {entity for entity, seen in zip(dataset.entities, dataset.seen().tolist(), strict=True) if not seen}
    assert unseen == {"artwork:c", "artwork:d"}


def test_an_unknown_entity_names_the_nearest(release: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'artist:z'"):
        load_folder(release).entity_index("artst:z")


def test_an_unknown_relation_names_the_nearest(release: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hasStyle'"):
        load_folder(release).relation_index("hasStlye")


def test_what_is_saved_loads_the_same(release: Path, tmp_path: Path) -> None:
    dataset = load_folder(release, "abc")
    dataset.save(tmp_path)
    loaded = Dataset.load(tmp_path)
    for field in dataset.__dataclass_fields__:
        if field != "triples":
            assert getattr(loaded, field) == getattr(dataset, field)
    assert all(torch.equal(loaded.triples[split], dataset.triples[split]) for split in SPLITS)


def test_saving_twice_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        load_folder(release).save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("file", ["vocabulary.json", "triples.safetensors"])
def test_every_altered_byte_of_a_saved_data_set_is_found(release: Path, tmp_path: Path, file: str) -> None:
    load_folder(release).save(tmp_path)
    whole = (tmp_path / file).read_bytes()
    for place in range(0, len(whole) - 1, 7):  # the last byte is the end of the line
        (tmp_path / file).write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DatasetError):
            Dataset.load(tmp_path)


def test_a_pickle_in_the_place_of_saved_triples_is_not_opened(release: Path, tmp_path: Path) -> None:
    load_folder(release).save(tmp_path)
    (tmp_path / "triples.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DatasetError, match="is a pickle"):
        Dataset.load(tmp_path)


def test_every_altered_file_of_a_release_is_found(release: Path) -> None:
    for path in sorted(release.rglob("*.parquet")):
        whole = path.read_bytes()
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        with pytest.raises(DataError, match="altered"):
            load_folder(release)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("table", "split", "change", "message"),
    [
        ("triples", "train", {"relation": "likes"}, r"triples/train, row 2 .*relation is not a declared relation"),
        ("triples", "test", {"tail": "style:y"}, r"triples/test, row 1 .*tail is not a declared entity"),
        ("triples", "train", {"head": None}, r"triples/train, row 2 .*head is null"),
        ("triples", "train", dict(zip(("head", "relation", "tail"), TRAIN[0], strict=True)),
         r"triples/train, row 2 repeats triples/train, row 1"),
        ("triples", "test", dict(zip(("head", "relation", "tail"), TRAIN[2], strict=True)),
         r"triples/test, row 1 repeats triples/train, row 3"),
        ("entities", "full", {"label": None}, r"entities, row 2 .*label is null"),
        ("entities", "full", {"aliases": None}, r"entities, row 2 .*aliases is null"),
        ("entities", "full", {"aliases": ["B", None]}, r"entities: an alias is null"),
        ("entities", "full", {"id": "artist:z"}, r"entities: id 'artist:z' is there twice"),
        ("relations", "full", {"domain": None}, r"relations, row 2 .*domain is null"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_by_row(release: Path, table: str, split: str, change: dict, message: str) -> None:
    row = 0 if split == "test" else 1
    with pytest.raises(DatasetError, match=message):
        load_folder(rewrite(release, table, split, change, row))


def test_a_release_without_train_triples_is_refused(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path / "release", {"test": SPLITS["test"]})
    with pytest.raises(DatasetError, match="triples/train is empty"):
        load_folder(release)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [({"types": {}}, "does not say 'split'"), ({"types": {}, "split": {"policy": "x", "unseen": None}}, "policy 'x'")],
)
def test_a_manifest_that_lacks_the_recipe_s_parts_is_refused(release: Path, recipe: dict, message: str) -> None:
    write_manifest(release, {"name": "tiny", "version": "1.0.0", "recipe": recipe})
    with pytest.raises(DatasetError, match=message):
        load_folder(release)


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_refused() -> None:
    with pytest.raises(UsageError, match="ORG/NAME"):
        find_release("no such folder")


def test_a_folder_s_name_loads_it(release: Path) -> None:
    assert load_dataset(str(release)).entities == load_folder(release).entities


def upload(folder: Path, tag: str) -> str:
    """Put a release on the Hub under a tag; its commit."""
    api = HfApi()
    api.create_repo("org/tiny", repo_type="dataset", exist_ok=True)
    commit = api.upload_folder(repo_id="org/tiny", repo_type="dataset", folder_path=folder).oid
    api.create_tag("org/tiny", tag=tag, repo_type="dataset")
    return commit


@pytest.fixture
def published(hub: Hub, release: Path, tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Two versions of one data set: tag -> commit and content hash."""
    two = write_tiny_release(tmp_path / "two", {**SPLITS, "test": [("artwork:e", "hasStyle", "style:x")]})
    releases = {"v1.0.0": release, "v2.0.0": two}
    return {
        tag: (upload(folder, tag), schema.read_manifest(folder)["content_sha256"]) for tag, folder in releases.items()
    }


uploads = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # in huggingface_hub's upload


@uploads
def test_a_tag_of_the_hub_means_the_same_commit_online_and_offline(
    published: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        for tag, told in published.items():
            dataset = load_dataset(f"org/tiny@{tag}")
            assert (dataset.revision, dataset.content_sha256) == told
    with pytest.raises(UpstreamError, match=r"org/tiny@v9 is no folder in .*it is not in the cache"):
        load_dataset("org/tiny@v9")


@uploads
def test_a_revision_or_data_set_that_the_hub_does_not_have_is_refused(published: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(DatasetError, match="org/tiny has no revision 'v9'; its tags are listed on its Hub page"):
        load_dataset("org/tiny@v9")
    with pytest.raises(DatasetError, match="no data set org/none on the Hub, or it is private: hf auth login"):
        load_dataset("org/none")


@uploads
def test_training_on_a_tag_records_its_commit_and_reads_it_again_offline(
    published: dict[str, tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str) -> str | None:
        line = ["vlkge", "train", "--hf-dataset", "org/tiny@v1.0.0", "--dim", "4", "--epochs", "1", "--quiet", "--out"]
        monkeypatch.setattr(sys, "argv", [*line, str(tmp_path / name)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        return load_run(tmp_path / name).dataset.revision

    (tmp_path / "org" / "tiny@v1.0.0").mkdir(parents=True)  # a folder of that name is not what --hf-dataset means
    monkeypatch.chdir(tmp_path)
    load_dataset("hf://datasets/org/tiny")  # main, that is v2.0.0, lies in the cache too
    assert trained("online") == published["v1.0.0"][0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert trained("offline") == published["v1.0.0"][0]


def test_a_graph_that_names_what_is_not_there_is_refused(release: Path, tmp_path: Path) -> None:
    whole = load_folder(release)
    for change, said in (
        (
            {"triples": {**whole.triples, "test": torch.tensor([[0, 0, -1]])}},
            "a triple of test names what is not there",
        ),
        (
            {"triples": {**whole.triples, "test": torch.tensor([[0, 99, 0]])}},
            "a triple of test names what is not there",
        ),
        ({"triples": {**whole.triples, "test": torch.zeros(2, 3)}}, r"the triples of test are torch\.float32 \[2, 3\]"),
        ({"labels": whole.labels[1:]}, "its parts do not belong together"),
        ({"type_info": {}}, "its parts do not belong together"),
    ):
        replace(whole, **change).save(tmp_path)
        with pytest.raises(DatasetError, match=said):
            Dataset.load(tmp_path)
    whole.save(tmp_path)
    values = read_sealed_json(tmp_path / "vocabulary.json", DatasetError, "")
    write_sealed_json(tmp_path / "vocabulary.json", {k: v for k, v in values.items() if k != "labels"})
    with pytest.raises(DatasetError, match="holds no graph: KeyError"):
        Dataset.load(tmp_path)
