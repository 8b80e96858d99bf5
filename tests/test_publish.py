"""A release goes to the Hub whole or not at all, once, and only if it may."""

import copy
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.cli import main
from mkg_builder.content import release_content_sha256
from mkg_builder.errors import UpstreamError, UsageError
from mkg_builder.hub import PublishError
from mkg_builder.publish import Outcome, Publication, publish
from tests.conftest import run_command
from tests.local_hub import ROOT, TOKEN, Hub, Refused, environment, local_hub, run_python, shared_hub
from tests.tiny_recipe import RECIPE, write_recipe
from vlkge.dataset import download
from vlkge.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
ONE = {"version": "1.0.0"}
TWO = {"version": "2.0.0", "split": {**RECIPE["split"], "seed": 2}}


def built(folder: Path, *overrides: str, **changes: object) -> Path:
    folder.mkdir()
    return build(Job(str(write_recipe(folder, **changes)), folder / "w", overrides=overrides)).release


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("releases") / "one", **ONE)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("releases") / "two", **TWO)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A release whose recipe has this policy for its pictures."""
    place = tmp_path_factory.mktemp("own")
    return functools.cache(lambda policy: built(place / policy, images={"redistribute": policy}))


def sent(release: Path, **options: Any) -> Outcome:
    """What publishing it to org/tiny gives."""
    return publish(Publication(release, "org/tiny", **options), execute=True)[-1]


def whole(release: Path) -> dict[str, bytes]:
    """Every file that a release's manifest covers, and the manifest."""
    names = [*schema.read_manifest(release)["files"], schema.MANIFEST]
    return {name: (release / name).read_bytes() for name in names}


def on_hub(hub: Hub, revision: str = "main", repo: str = "org/tiny") -> dict[str, bytes]:
    tree = dict(hub[repo].commits[hub[repo].find(revision)])
    del tree[".gitattributes"]
    return tree


def writes(hub: Hub) -> list[str]:
    """The requests that change something."""
    return [line for line in hub.requests if not line.startswith(("GET", "HEAD"))]


def test_a_dry_run_tells_what_it_would_do_and_sends_nothing(hub: Hub, one: Path) -> None:
    (plan,) = publish(Publication(one, "org/tiny"))
    size = sum(map(len, whole(one).values()))
    assert (plan.tag, plan.state, plan.new_files, plan.new_bytes) == ("v1.0.0", "to publish", len(whole(one)), size)
    assert (plan.commit, plan.holds, writes(hub), hub.repositories) == (None, None, [], {})


def test_a_published_release_is_on_main_under_its_tag_and_nothing_else_is_left(hub: Hub, one: Path) -> None:
    outcome = sent(one)
    assert on_hub(hub) == on_hub(hub, "v1.0.0") == whole(one)
    assert (outcome.state, outcome.commit) == ("published", hub["org/tiny"].tags["v1.0.0"])
    assert list(hub["org/tiny"].branches) == ["main"]


def test_only_the_manifest_s_files_are_sent(hub: Hub, one: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(one, tmp_path / "release"))
    (release / ".env").write_text("HF_TOKEN=secret")
    (release / ".cache").mkdir()
    (release / ".cache" / "half.parquet").write_bytes(b"half")
    sent(release)
    assert on_hub(hub) == whole(one)


def test_published_again_it_is_already_published_and_nothing_is_sent(hub: Hub, one: Path) -> None:
    first = sent(one)
    before = writes(hub)
    again = sent(one)
    assert (again.state, again.commit, writes(hub)) == ("already published", first.commit, before)


def test_a_new_version_replaces_the_old_on_main_and_leaves_its_tag(hub: Hub, one: Path, two: Path) -> None:
    sent(one)
    hub["org/tiny"].commit("main", {**hub["org/tiny"].main, "artworks/full-00001-of-00002.parquet": b"old"})
    outcome = sent(two)
    assert (outcome.holds, outcome.removed) == ("1.0.0", ("artworks/full-00001-of-00002.parquet",))
    assert (on_hub(hub), on_hub(hub, "v1.0.0")) == (whole(two), whole(one))


def test_files_go_up_once_although_there_are_two_commits(hub: Hub, one: Path) -> None:
    sent(one)
    uploads = [line for line in hub.requests if line.startswith("PUT /objects/")]
    assert len(uploads) == len(set(uploads)) == len({body for name, body in whole(one).items() if "parquet" in name})


def test_a_published_version_is_never_changed(hub: Hub, one: Path, tmp_path: Path) -> None:
    sent(one)
    before = copy.deepcopy(hub["org/tiny"]), writes(hub)
    other = built(tmp_path / "other", **ONE, description="Another text.")
    for execute in (False, True):
        with pytest.raises(PublishError, match=r"has v1\.0\.0 already, and its README\.md is another.*raise `version`"):
            publish(Publication(other, "org/tiny"), execute)
    assert (hub["org/tiny"], writes(hub)) == before


def test_an_unsound_release_is_refused_before_any_request(hub: Hub, one: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(one, tmp_path / "release"))
    with (release / schema.shard_path("entities", "full")).open("r+b") as file:
        file.seek(40)
        file.write(b"?")
    with pytest.raises(PublishError, match=r"must not be published: files: entities/.* is altered"):
        sent(release)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", ".env", "link.txt"])
def test_a_manifest_that_lists_what_is_no_file_of_a_release_is_refused(
    hub: Hub, one: Path, tmp_path: Path, name: str
) -> None:
    release = Path(shutil.copytree(one, tmp_path / "release"))
    (tmp_path / "secret.txt").write_text("secret")
    (release / ".env").write_text("secret")
    (release / "link.txt").symlink_to(tmp_path / "secret.txt")
    manifest = schema.read_manifest(release)
    for listed in {name, "link.txt"}:
        path = release / listed
        entry = {"bytes": path.stat().st_size, "sha256": schema.file_sha256(path)}
        manifest["files"][listed] = entry
    (release / schema.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(PublishError, match="which is no file of a release"):
        sent(release)
    assert hub.requests == []


def test_a_build_that_differs_from_its_recipe_is_published_only_as_what_it_is(hub: Hub, tmp_path: Path) -> None:
    release = built(tmp_path / "marked", "split.seed=3")
    with pytest.raises(PublishError, match=r"differs from its recipe \(set split.seed=3\).*--allow-marked"):
        sent(release)
    outcome = sent(release, allow_marked=True)
    assert re.fullmatch(r"v1\.2\.3\+set-\w{6}", outcome.tag)
    assert on_hub(hub, outcome.tag) == whole(release)


@pytest.mark.parametrize(
    ("policy", "hint"), [("urls-only", "--without-images"), ("gated", "--images-repo, or .*--without-images")]
)
def test_pictures_whose_licence_forbids_it_are_not_published(
    hub: Hub, own: Callable[[str], Path], policy: str, hint: str
) -> None:
    release = own(policy)
    with pytest.raises(PublishError, match=f"images.redistribute: {policy}; .*{hint}"):
        sent(release)
    assert hub.requests == []


def test_addresses_alone_make_a_sound_release_of_the_same_content(hub: Hub, own: Callable[[str], Path]) -> None:
    release = own("urls-only")
    sent(release, without_images=True)
    bare = Path(snapshot_download("org/tiny", repo_type="dataset", revision="v1.2.3"))
    before, after = (schema.read_table(folder, "artworks").to_pylist() for folder in (release, bare))
    assert after == [{**row, "image": None} for row in before]
    assert check_release(bare) == []
    assert release_content_sha256(bare) == schema.read_manifest(release)["content_sha256"]
    assert "**Without pictures.**" in (bare / "README.md").read_text()


def test_pictures_go_to_a_second_data_set_that_is_gated_before_it_holds_anything(
    hub: Hub, own: Callable[[str], Path]
) -> None:
    release = own("gated")
    outcomes = publish(Publication(release, "org/tiny", images_repo="org/tiny-images"), execute=True)
    assert [(o.repo, o.gated, o.pictures) for o in outcomes] == [
        ("org/tiny-images", True, True),
        ("org/tiny", False, False),
    ]
    assert on_hub(hub, "v1.2.3", "org/tiny-images") == whole(release)
    changed = [line for line in writes(hub) if "org/tiny-images" in line]
    assert changed[0] == "PUT /api/datasets/org/tiny-images/settings"
    assert b"data set [org/tiny-images]" in on_hub(hub)["README.md"]
    assert json.loads(on_hub(hub)["manifest.json"])["without_pictures"] == {"whole": "org/tiny-images@v1.2.3"}


def test_whoever_has_not_accepted_the_terms_gets_the_graph_but_not_the_pictures(
    hub: Hub, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(Publication(one, "org/tiny", images_repo="org/tiny-images"), execute=True)
    monkeypatch.setenv("HF_TOKEN", "hf_somebodyElse")
    assert check_release(download("org/tiny", "v1.0.0")[0]) == []
    with pytest.raises(DatasetError, match=r"org/tiny-images@v1\.0\.0 is gated: accept its terms"):
        download("org/tiny-images", "v1.0.0")


def test_a_data_set_that_cannot_be_gated_gets_no_pictures(hub: Hub, one: Path) -> None:
    def refuse(line: str) -> None:
        if line.endswith("/settings"):
            raise Refused(403, "only an administrator may")

    hub.before = refuse
    with pytest.raises(UpstreamError, match="only an administrator may"):
        publish(Publication(one, "org/tiny", images_repo="org/tiny-images"), execute=True)
    assert [len(repository.main) for repository in hub.repositories.values()] == [1]


@pytest.mark.parametrize(
    "options",
    [{"repo": "tiny"}, {"repo": "a/b/c"}, {"repo": "org/-x"}, {"images_repo": "org/tiny"},
     {"images_repo": "org/b", "without_images": True}],
)  # fmt: skip
def test_names_that_are_none_and_options_that_exclude_each_other_are_refused(
    hub: Hub, one: Path, options: dict
) -> None:
    with pytest.raises(UsageError):
        publish(Publication(**{"release": one, "repo": "org/tiny", **options}))


def test_a_data_set_of_something_else_is_left_alone(hub: Hub, one: Path, tmp_path: Path) -> None:
    hub.create({"name": "tiny", "organization": "org", "type": "dataset"})
    hub["org/tiny"].commit("main", {"README.md": b"# Mine", "data.csv": b"a,b"})
    with pytest.raises(PublishError, match=r"holds files of no release \(data.csv\)"):
        sent(one)
    sent_to_other = Publication(built(tmp_path / "other", name="other"), "org/other")
    publish(sent_to_other, execute=True)
    with pytest.raises(PublishError, match="org/other holds 'other', not 'tiny'"):
        publish(Publication(one, "org/other"), execute=True)


@pytest.mark.parametrize(
    ("token", "said"), [("hf_readOnlyTOKEN0123", "no write access"), ("", "no Hugging Face token: hf auth login")]
)
def test_a_token_that_may_not_write_is_one_line_that_says_what_to_do(
    hub: Hub, one: Path, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent/token")
    with pytest.raises(UpstreamError, match=f"{said}.*hf auth login|{said}") as caught:
        sent(one)
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


def test_a_full_account_or_a_broken_line_is_told_and_the_same_call_goes_on(hub: Hub, one: Path) -> None:
    def fail(line: str) -> None:
        if "lfs/objects/batch" in line:
            raise Refused(403, "Storage limit reached")
        if "/tag/" in line:
            raise ConnectionError

    hub.before = fail
    with pytest.raises(UpstreamError, match="403: Storage limit reached"):
        sent(one)
    assert on_hub(hub) == {}
    hub.before = lambda line: fail(line) if "/tag/" in line else None
    with pytest.raises(UpstreamError, match=r"does not answer \(.*is kept: run the same command again"):
        sent(one)
    hub.before = lambda line: None
    assert sent(one).state == "published"


def test_who_is_offline_by_choice_is_told_so(hub: Hub, one: Path) -> None:
    offline = {**hub.environment, "HF_HUB_OFFLINE": "1"}
    done = run_command("mkgb", "publish", one, "--repo", "org/tiny", "--execute", "-q", **offline)
    said = "mkgb: org/tiny: the Hub is not asked while HF_HUB_OFFLINE is set; unset it\n"
    assert (done.returncode, done.stderr) == (3, said)
    assert hub.repositories == {}


def test_a_hub_that_is_not_there_is_told_by_its_address(one: Path) -> None:
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = run_command("mkgb", "publish", one, "--repo", "org/tiny", "-q", **nobody)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith("mkgb: org/tiny: the Hub at http://127.0.0.1:9 does not answer (")


def test_what_the_hub_garbled_never_reaches_main(hub: Hub, one: Path) -> None:
    def garble(line: str) -> None:
        if "/commit/staging" in line:
            tree = hub["org/tiny"].commits[hub["org/tiny"].branches["staging/v1.0.0"]]
            tree["triples/test-00000-of-00001.parquet"] = b"garbled"

    hub.after = garble
    with pytest.raises(UpstreamError, match=r"on staging/v1\.0\.0, triples/.* is not what the manifest says"):
        sent(one)
    assert (on_hub(hub), hub["org/tiny"].tags) == ({}, {})
    hub.after = lambda line: None
    assert sent(one).state == "published"
    assert on_hub(hub, "v1.0.0") == whole(one)


def test_of_two_publishers_at_once_one_is_told_to_run_again(hub: Hub, one: Path, two: Path) -> None:
    def overtake(line: str) -> None:
        hub.before = (lambda line: None) if line.endswith("/commit/main") else overtake
        if line.endswith("/commit/main"):
            hub.lock.release()  # the other publisher's requests are answered by other threads
            sent(two)
            hub.lock.acquire()

    hub.before = overtake
    with pytest.raises(UpstreamError, match="somebody else changed it meanwhile"):
        sent(one)
    assert (on_hub(hub), list(hub["org/tiny"].tags)) == (whole(two), ["v2.0.0"])
    assert sent(one).state == "published"
    assert (on_hub(hub), on_hub(hub, "v1.0.0")) == (whole(two), whole(one))


def test_an_older_version_gets_its_tag_while_main_keeps_the_newer(hub: Hub, one: Path, two: Path) -> None:
    sent(two)
    sent(one)
    assert (on_hub(hub), on_hub(hub, "v1.0.0"), on_hub(hub, "v2.0.0")) == (whole(two), whole(one), whole(two))


PUBLISHER = """
import os, sys
from pathlib import Path
from huggingface_hub import HfApi
from mkg_builder.publish import Publication, publish
for line in sys.stdin:
    child = os.fork()
    if not child:
        publish(Publication(Path(line.strip()), "org/tiny"), True, HfApi(user_agent={"pid": os.getpid()}))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def publisher(hub: Hub) -> Iterator[Any]:
    """Publish in a process of its own, which may be killed; its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, **hub.environment},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def run(release: Path) -> int:
        process.stdin.write(f"{release}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


def test_killed_anywhere_it_is_finished_by_the_same_command_and_main_is_never_mixed(
    one: Path, two: Path, request: pytest.FixtureRequest
) -> None:
    with local_hub() as hub, publisher(hub) as run:
        assert run(one) == 0
        before = copy.deepcopy((hub.repositories, hub.objects))
        start = len(hub.requests)
        assert run(two) == 0
        requests = hub.requests[start:]
        final = hub["org/tiny"].main
        # the Hub's state is all that a killed publisher leaves: one kill for each that there is
        changes = [place for place, line in enumerate(requests) if re.match("DELETE|POST.*/(branch|commit|tag)/", line)]
        puts = [place for place, line in enumerate(requests) if line.startswith("PUT")]
        kills = [0, puts[0], puts[-1], *changes]
        if request.config.getoption("--whole"):
            kills = [*range(len(requests))]
        mains: list[dict[str, bytes]] = []

        def kill(fatal: int) -> None:
            mains.append(hub["org/tiny"].main)
            if len(mains) - 1 == fatal:
                os.kill(int(re.findall(r"pid/(\d+)", " ".join(hub.agents))[-1]), signal.SIGKILL)

        for fatal in kills:
            hub.repositories, hub.objects = copy.deepcopy(before)
            mains.clear()
            hub.after = lambda line, fatal=fatal: kill(fatal)
            assert run(two) == -signal.SIGKILL
            assert run(two) == 0
            repository = hub["org/tiny"]
            assert (repository.main, on_hub(hub), on_hub(hub, "v2.0.0")) == (final, whole(two), whole(two))
            assert (set(repository.branches), set(repository.tags)) == ({"main"}, {"v1.0.0", "v2.0.0"})
            assert all(main in (before[0]["datasets/org/tiny"].main, final) for main in mains)
    assert len(kills) in (
        8,
        len(requests),
    )  # before anything, two of its files, two branches' commits, the tag, a branch made, deleted


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and output of mkgb, run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(sys, "argv", ["mkgb", *map(str, arguments)])
        main()
        sys.exit(0)
    return int(left.value.code or 0), "".join(capsys.readouterr())


def test_the_token_is_shown_nowhere_even_with_a_traceback(
    hub: Hub, one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell_tale(line: str) -> None:
        if "repos/create" in line:
            signed = "https://s3.example/a/b?X-Amz-Security-Token=canary-1&X-Amz-Signature=canary-2"
            raise Refused(
                400, f"your token {TOKEN} is no good, nor is hf_anotherONE123456, nor {signed}, nor /a?canary-3"
            )

    hub.before = tell_tale
    code, output = typed(capsys, "publish", one, "--repo", "org/tiny", "--execute", "--debug")
    said = "your token hf_... is no good, nor is hf_..., nor https://s3.example/a/b?... nor /a?..."
    assert (code, said in output) == (3, True)
    assert "Traceback" in output
    assert TOKEN not in output
    assert "hf_anotherONE" not in output
    assert "canary" not in output


def test_the_command_is_a_dry_run_unless_told_to_execute(
    hub: Hub, one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = typed(capsys, "publish", one, "--repo", "org/tiny")
    assert (code, writes(hub)) == (0, [])
    assert "to publish" in output
    assert "Nothing was sent; publish it with --execute" in output


LOAD = """
import datasets, json
rows = {split: datasets.load_dataset("org/tiny", "triples", revision="v1.0.0", split=split).to_list()
        for split in ("train", "validation", "test")}
pictures = [row["image"] is not None for row in datasets.load_dataset("org/tiny", "artworks", split="full")]
print(json.dumps([rows, pictures]))
"""


def test_the_command_publishes_what_the_hugging_face_library_loads_by_its_tag(one: Path, tmp_path: Path) -> None:
    with local_hub() as hub:
        done = run_command("mkgb", "publish", one, "--repo", "org/tiny", "--execute", "--json", "-q", **hub.environment)
        assert (done.returncode, done.stderr) == (0, "")
        (outcome,) = json.loads(done.stdout)["data_sets"]
        assert (outcome["state"], outcome["commit"]) == ("published", hub["org/tiny"].tags["v1.0.0"])
        rows, pictures = json.loads(run_python(LOAD, {**hub.environment, "HF_HOME": str(tmp_path)}))
    assert rows == {split: schema.read_table(one, "triples", split).to_pylist() for split in rows}
    assert pictures == [row["image"] is not None for row in schema.read_table(one, "artworks").to_pylist()]


@pytest.mark.shared
def test_the_stand_in_hub_of_shared_takes_and_gives_back_a_release(one: Path, two: Path, tmp_path: Path) -> None:
    with shared_hub() as url:
        told = []
        for release in (one, two, one):
            done = run_command(
                "mkgb", "publish", release, "--repo", "org/tiny", "--execute", "--json", **environment(url)
            )
            assert done.returncode == 0, done.stderr
            told += json.loads(done.stdout)["data_sets"]
        rows, _ = json.loads(run_python(LOAD, {**environment(url), "HF_HOME": str(tmp_path)}))
    assert [outcome["state"] for outcome in told] == ["published", "published", "already published"]
    assert told[0]["commit"] == told[2]["commit"] != told[1]["commit"]
    assert rows == {split: schema.read_table(one, "triples", split).to_pylist() for split in rows}


def test_what_is_published_already_and_open_to_all_is_gated_when_it_must_be(hub: Hub, one: Path) -> None:
    publish(Publication(one, "org/pictures"), execute=True)
    wanted = Publication(one, "org/tiny", images_repo="org/pictures")
    assert [o.state for o in publish(wanted, execute=False)] == ["to gate", "to publish"]
    assert not hub["org/pictures"].gated
    assert [(o.state, o.gated) for o in publish(wanted, execute=True)] == [("gated", True), ("published", False)]
    assert hub["org/pictures"].gated
    assert [o.state for o in publish(wanted, execute=True)] == ["already published"] * 2
