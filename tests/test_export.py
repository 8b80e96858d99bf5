"""A run given away: it is a run again, says what it is, and comes back from the Hub the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import HfApi, ModelCard

from mkg_builder.durable import file_sha256
from mkg_builder.errors import UsageError
from tests.local_hub import Hub
from tests.test_trainer import ART, DATASET, TEXTS, new_run
from tests.test_vlkge_cli import vlkge
from tests.vlkge_contracts import make_features
from vlkge.errors import RunError
from vlkge.evaluate import evaluate_run
from vlkge.export import export_run
from vlkge.features import save_features
from vlkge.files import read_sealed_json, write_sealed_json
from vlkge.predict import Predictor
from vlkge.protocol import Strict
from vlkge.run import EXPERIMENT, RECORD, Run, find_run, load_run
from vlkge.share import share
from vlkge.train import fit

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, features = (
        tmp_path_factory.mktemp("somewhere") / "tiny-run",
        tmp_path_factory.mktemp("features") / "features",
    )
    image, text = make_features(DATASET, "image", ART[:-1], 6), make_features(DATASET, "text", TEXTS, 4)
    specs = ((image, "color-texture"), (text, "label-and-text:char-ngrams"))
    save_features(features, [replace(part, info=replace(part.info, spec=spec)) for part, spec in specs])
    made = new_run(folder, features, "model.reciprocal=true", f"dataset={folder.parent}/releases/tiny-1.0.0")
    list(fit(made, 2))
    return load_run(folder)


def test_an_export_is_a_run_that_answers_alike(run: Run, tmp_path: Path) -> None:
    made = export_run(run, tmp_path / "out")
    again = load_run(made.folder)
    assert evaluate_run(again, "test", Strict()).to_json() == evaluate_run(run, "test", Strict()).to_json()
    assert Predictor(again).tails_of("artwork:20", "by") == Predictor(run).tails_of("artwork:20", "by")
    assert json.loads((made.folder / "evaluation.json").read_text()) == made.result.to_json()


def test_the_embeddings_are_the_models_vectors(run: Run, tmp_path: Path) -> None:
    folder, model = export_run(run, tmp_path / "out").folder, run.load_model()
    entities = pq.read_table(folder / "embeddings" / "entities.parquet").to_pydict()
    assert entities["entity"] == list(run.dataset.entities)
    everything = torch.arange(len(run.dataset.entities))
    assert torch.equal(torch.tensor(entities["vector"]), model.represent_all(everything))
    assert entities["known"] == model.real.has_any(everything).tolist()
    relations = pq.read_table(folder / "embeddings" / "relations.parquet").to_pydict()
    assert (relations["relation"], relations["inverse"]) == (["by", "knows"] * 2, [False, False, True, True])
    assert torch.equal(torch.tensor(relations["vector"]), model.relations.detach())


def test_nothing_tells_where_the_data_lay_on_this_machine(run: Run, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "out").folder
    assert str(run.folder.parent).encode() in (run.folder / EXPERIMENT).read_bytes()
    bodies = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not [body for body in bodies if str(run.folder.parent).encode() in body]


def test_the_card_names_data_protocol_seed_and_numbers(run: Run, tmp_path: Path) -> None:
    made = export_run(run, tmp_path / "out", "cc0-1.0")
    text = (made.folder / "README.md").read_text()
    card = ModelCard(text)
    overall = made.result.model.overall
    assert card.data.license == "cc0-1.0"
    assert {r.metric_type: r.metric_value for r in card.data.eval_results}["mrr"] == round(overall.mrr, 4)
    for said in ("tiny 1.0.0", "protocol strict 1", "seed 42", "| by | 4 |", "* image: "):
        assert said in text


def test_an_export_cannot_be_trained_on_and_says_so(run: Run, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "out").folder
    before = sorted(folder.rglob("*"))
    with pytest.raises(RunError, match="exported without its checkpoint"):
        list(fit(load_run(folder), 3))
    assert sorted(folder.rglob("*")) == before


def test_only_an_export_is_replaced(run: Run, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "out").folder
    with pytest.raises(UsageError, match="exists"):
        export_run(run, folder)
    assert export_run(run, folder, overwrite=True).folder == folder
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="exists"):
        export_run(run, tmp_path / "mine", overwrite=True)


def test_a_dry_run_sends_nothing_and_execute_one_verified_commit(run: Run, tmp_path: Path, hub: Hub) -> None:
    folder = export_run(run, tmp_path / "out").folder
    planned = share(folder, "tester/tiny")
    assert (planned.commit, hub.repositories) == (None, {})
    sent = share(folder, "tester/tiny", execute=True)
    assert (
        sent.new == planned.new == tuple(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()))
    )
    again = share(folder, "tester/tiny", execute=True)
    assert (again.new, again.removed, again.commit) == ((), (), sent.commit)


def test_only_an_export_is_replaced_and_nothing_but_what_it_wrote(run: Run, tmp_path: Path) -> None:
    again = export_run(run, tmp_path / "out").folder
    (again / "calibration.json").write_text("{}")  # as prediction leaves it
    assert export_run(run, again, overwrite=True).folder == again
    (again / "thesis.txt").write_text("mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "evaluation.json").write_text("{}")
    for place, said in (
        (again, "holds thesis.txt, which no export writes"), (tmp_path / "results", "exists and is no export"),
        (run.folder, "is the run itself"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            export_run(run, place, overwrite=True)
    assert (again / "thesis.txt").read_text() == "mine"
    shutil.copytree(run.folder, copy := tmp_path / "copy")
    (copy / "evaluation.json").write_text("{}")
    with pytest.raises(UsageError, match="is a run and no export"):
        export_run(run, copy, overwrite=True)


def test_a_run_comes_back_from_the_hub_the_same(
    run: Run, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(export_run(run, tmp_path / "out").folder, "tester/tiny", execute=True)
    monkeypatch.chdir(tmp_path)
    back = find_run("tester/tiny@main")
    assert Predictor(back).tails_of("artwork:20", "by") == Predictor(run).tails_of("artwork:20", "by")
    assert back.name == "tester/tiny"


def test_predict_reads_a_run_of_the_hub(run: Run, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    share(export_run(run, tmp_path / "out").folder, "tester/tiny", execute=True)
    monkeypatch.chdir(tmp_path)
    question = ("--head", "artwork:20", "--relation", "by", "--json")
    by_name = vlkge("predict", "--run", "tester/tiny", *question, cwd=tmp_path)
    by_folder = vlkge("predict", run.folder, *question, cwd=tmp_path)
    assert json.loads(by_name.stdout)["things"] == json.loads(by_folder.stdout)["things"]
    assert vlkge("predict", *question, cwd=tmp_path).returncode == 2


def test_a_repository_that_holds_something_else_is_left_alone(run: Run, tmp_path: Path, hub: Hub) -> None:
    HfApi().create_repo("tester/else")
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id="tester/else")
    with pytest.raises(RunError, match="holds no exported run"):
        share(export_run(run, tmp_path / "out").folder, "tester/else", execute=True)


def sent_with(run: Run, folder: Path, name: str, old: str, new: str) -> None:
    """Share the run with one of its files changed, and everything sealed anew."""
    export_run(run, folder)
    (folder / name).write_text((folder / name).read_text().replace(old, new))
    if name.endswith(".json"):
        values = json.loads((folder / name).read_text())
        write_sealed_json(folder / name, {key: value for key, value in values.items() if key != "sha256"})
    record = read_sealed_json(folder / RECORD, RunError, "")
    record["files"][name] = file_sha256(folder / name)
    write_sealed_json(folder / RECORD, record)
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    share(folder, "tester/evil", execute=True)


@pytest.mark.parametrize(("name", "old", "new"), [
    ("features/features.json", '"color-texture"', '"evil.py:Evil"'),
    ("features/features.json", '"label-and-text:char-ngrams"', '"label-and-text:evil.py:Evil"'),
    (EXPERIMENT, "scorer: complex", "scorer: evil.py:Evil"),
    (EXPERIMENT, "fusion: average", "fusion: evil.py:Evil"),
])  # fmt: skip
def test_code_that_a_run_brings_along_is_not_run(
    name: str, old: str, new: str, run: Run, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_with(run, tmp_path / "out", name, old, new)
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(RunError, match=r"tester/evil names 'evil\.py:Evil', which is not installed"):
        find_run("tester/evil")


def test_a_folder_that_is_missing_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(RunError, match=r"runs/missing is no run"):
        find_run(Path("runs/missing"))
