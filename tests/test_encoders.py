"""Encoders: each keeps the contract, is found by name, and says what is missing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image
from safetensors.torch import save_file

from mkg_builder.errors import UnknownNameError, UpstreamError, UsageError
from tests.encoder_contract import PICTURES, TEXTS, EncoderContract, NeedsAPackage, picture
from tests.local_hub import Hub
from vlkge.encoders import Encoder, encode_texts, resolve_encoders, restore_encoder
from vlkge.encoders_open_clip import import_open_clip
from vlkge.errors import FeaturesError
from vlkge.pretrained import find_device, weights_sha256

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole open_clip model of random weights, of an architecture that open_clip is told of by name."""
    open_clip = import_open_clip()
    folder = tmp_path_factory.mktemp("clip")
    (folder / "ViT-tiny-test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "ViT-tiny-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-tiny-test")
    model_folder = folder / "model"
    model_folder.mkdir()
    save_file(model.state_dict(), model_folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
    (model_folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}))
    return model_folder


class TestColorTexture(EncoderContract):
    def encoder(self) -> Encoder:
        return resolve_encoders("color-texture")[0]

    def test_tells_colour_apart_where_the_drawing_is_the_same(self) -> None:
        fields = np.asarray(picture(0))
        same, recoloured = self.encoder().encode([picture(0), Image.fromarray(fields[..., ::-1])])
        assert np.linalg.norm(same - recoloured) > 0.5

    def test_tells_composition_apart_where_the_colours_are_the_same(self) -> None:
        same, turned = self.encoder().encode([picture(0), picture(0).rotate(180)])
        assert np.linalg.norm(same - turned) > 0.5

    def test_is_nearer_to_the_same_picture_at_another_size(self) -> None:
        large, small, other = self.encoder().encode([picture(0, (200, 160)), picture(0, (100, 80)), picture(1)])
        assert np.linalg.norm(large - small) < np.linalg.norm(large - other) / 4

    def test_nearly_every_number_differs_between_pictures(self) -> None:
        vectors = self.encoder().encode([picture(seed, (60 + seed, 80)) for seed in range(40)])
        constant = np.ptp(vectors, axis=0) == 0  # colours so dark or so bright that few pictures have them
        assert constant.sum() < 40

    def test_describes_a_picture_of_one_colour(self) -> None:
        assert np.isfinite(self.encoder().encode([Image.new("RGB", (30, 30), "black")])).all()


class TestCharNgrams(NeedsAPackage):
    package, install = "sklearn.feature_extraction.text", "scikit-learn"

    def encoder(self) -> Encoder:
        return resolve_encoders("char-ngrams")[0]

    def test_case_and_compatible_forms_are_one(self) -> None:
        small, capital, wide = self.encoder().encode(["monet", "MONET", "ｍｏｎｅｔ"])
        assert small.tolist() == capital.tolist() == wide.tolist()

    def test_shared_pieces_make_texts_near(self) -> None:
        one, near, far = self.encoder().encode(["Impressionism", "Post-Impressionism", "Ukiyo-e"])
        assert one @ near > 0.5 > one @ far

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_a_text_with_nothing_in_it_is_refused(self, text: str) -> None:
        with pytest.raises(FeaturesError, match="nothing to encode"):
            self.encoder().encode(["Monet", text])


class OpenClipContract(NeedsAPackage):
    package, install = "open_clip", "open_clip_torch"
    side = 0

    @pytest.fixture(autouse=True)
    def _folder(self, tiny_clip: Path) -> None:
        self.folder = tiny_clip

    def encoder(self) -> Encoder:
        return resolve_encoders(f"open_clip:local-dir:{self.folder}")[self.side]

    def test_vectors_have_unit_length(self, inputs: list[Any]) -> None:
        np.testing.assert_allclose(np.linalg.norm(self.encoder().encode(inputs), axis=1), 1, atol=1e-5)

    def test_weights_and_folder_are_hashed(self) -> None:
        encoder = self.encoder()
        assert len(encoder.weights_sha256 or "") == 64
        assert encoder.revision.startswith("sha256:")


class TestOpenClipImage(OpenClipContract):
    def test_vectors_are_those_of_the_model_in_memory(self, tiny_clip: Path) -> None:
        model, _, preprocess = import_open_clip().create_model_and_transforms(f"local-dir:{tiny_clip}")
        with torch.inference_mode():
            wanted = model.eval().encode_image(torch.stack([preprocess(one) for one in PICTURES]), normalize=True)
        np.testing.assert_allclose(self.encoder().encode(PICTURES), wanted.numpy(), atol=1e-6)

    def test_the_folder_s_preprocessing_is_used_and_said(self) -> None:
        said = json.loads(self.encoder().preprocessing)
        assert (said["mean"], said["interpolation"], said["size"]) == ([0.5, 0.4, 0.3], "bilinear", [32, 32])


class TestOpenClipText(OpenClipContract):
    side = 1

    def test_vectors_are_those_of_the_model_in_memory(self, tiny_clip: Path) -> None:
        open_clip = import_open_clip()
        model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
        with torch.inference_mode():
            wanted = model.eval().encode_text(open_clip.tokenize(TEXTS), normalize=True)
        np.testing.assert_allclose(self.encoder().encode(TEXTS), wanted.numpy(), atol=1e-6)


def test_the_model_is_not_in_training_mode(tiny_clip: Path) -> None:
    for encoder in resolve_encoders(f"open_clip:local-dir:{tiny_clip}"):
        assert not any(module.training for module in encoder._parts.model.modules())


def test_one_name_gives_an_image_and_a_text_encoder_of_one_model(tiny_clip: Path) -> None:
    image, text = resolve_encoders(f"open_clip:local-dir:{tiny_clip}")
    assert (image.modality, text.modality) == ("image", "text")
    assert (image.dimension, image.weights_sha256) == (text.dimension, text.weights_sha256) == (32, text.weights_sha256)


def test_an_architecture_before_the_folder_must_be_the_folder_s(tiny_clip: Path) -> None:
    image, _ = resolve_encoders(f"open_clip:ViT-tiny-test/local-dir:{tiny_clip}")
    assert image.revision == resolve_encoders(f"open_clip:local-dir:{tiny_clip}")[0].revision
    with pytest.raises(UsageError, match="another model than ViT-B-32"):
        resolve_encoders(f"open_clip:ViT-B-32/local-dir:{tiny_clip}")


def test_other_weights_in_the_folder_are_noticed_when_an_encoder_is_restored(tiny_clip: Path, tmp_path: Path) -> None:
    for path in tiny_clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    info = resolve_encoders(f"open_clip:local-dir:{tmp_path}")[0].info()
    weights = {name: tensor + 1 for name, tensor in _weights(tiny_clip).items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(FeaturesError, match=r"has changed \(revision, weights_sha256\)"):
        restore_encoder(info)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    model = import_open_clip().create_model(f"local-dir:{folder}")
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_the_hash_of_weights_knows_names_shapes_and_values() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    others = [{**one, "a": torch.tensor([1.0, 2.5])}, {**one, "a": torch.tensor([[1.0, 2.0]])}, {"a": one["a"]}]
    hashes = [weights_sha256(weights) for weights in (one, *others)]
    assert len(set(hashes)) == 4
    assert weights_sha256(dict(reversed(one.items()))) == hashes[0]


def _without_weights(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"x")


def _with_other_weights(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    save_file({"logit_scale": torch.ones(1)}, folder / "open_clip_model.safetensors")


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda folder: None, "needs open_clip_config.json and a .safetensors file"),
        (_without_weights, "needs open_clip_config.json and a .safetensors file"),
        (_with_other_weights, "does not load as an open_clip model"),
    ],
)
def test_a_folder_without_a_whole_model_is_refused(tmp_path: Path, fill: Callable[[Path], None], message: str) -> None:
    fill(tmp_path)
    with pytest.raises(FeaturesError, match=message):
        resolve_encoders(f"open_clip:local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("colour-texture", r"did you mean 'color-texture'\?; known: char-ngrams, color-texture, label-and-text"),
        ("open_clip:ViT-B-32/laion2b_s34b_b97k", "did you mean 'ViT-B-32/laion2b_s34b_b79k'"),
        ("open_clip:ViT-B-33/openai", "did you mean 'ViT-B-32/openai'"),
        ("open_clip:ViT-B-33/local-dir:{folder}", "did you mean 'ViT-B-32'"),
    ],
)
def test_an_unknown_name_lists_the_nearest(tiny_clip: Path, spec: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        resolve_encoders(spec.format(folder=tiny_clip))


@pytest.mark.parametrize("spec", ["open_clip", "open_clip:ViT-B-32", "open_clip:/openai"])
def test_an_open_clip_name_without_weights_shows_the_forms(spec: str) -> None:
    with pytest.raises(UsageError, match="open_clip:MODEL/PRETRAINED"):
        resolve_encoders(spec)


def test_an_encoder_without_arguments_refuses_one() -> None:
    with pytest.raises(UsageError, match="takes no argument, got 'x'; write color-texture"):
        resolve_encoders("color-texture:x")


def test_weights_of_another_activation_are_refused_before_any_download() -> None:
    with pytest.raises(UsageError, match=r"with QuickGELU.* write open_clip:ViT-B-32-quickgelu/openai"):
        resolve_encoders("open_clip:ViT-B-32/openai")


def test_every_tag_of_open_clip_is_accepted_or_says_what_to_type() -> None:
    from vlkge.encoders_open_clip import _find_source

    open_clip = import_open_clip()
    pairs = {f"{model}/{tag}" for model, tag in open_clip.list_pretrained()}
    for pair in pairs:
        try:
            _find_source(open_clip, pair)
        except UsageError as error:
            assert str(error).rpartition("write open_clip:")[2] in pairs


@pytest.mark.parametrize("spec", ["open_clip:ViT-B-32-quickgelu/openai", "open_clip:hf-hub:org/none"])
def test_weights_that_cannot_be_downloaded_are_one_line(spec: str, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UpstreamError, match="not downloaded") as caught:
        resolve_encoders(spec)
    assert "\n" not in str(caught.value)
    assert caplog.records == []


def test_what_open_clip_calls_a_failed_download_is_an_upstream_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to download weights for tag 'openai'\nin several lines")

    monkeypatch.setattr(import_open_clip(), "create_model_and_transforms", fail)
    with pytest.raises(UpstreamError, match="not downloaded"):
        resolve_encoders("open_clip:ViT-B-32-quickgelu/openai")


def test_a_missing_package_of_a_tokenizer_names_its_install_line(tiny_clip: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(import_open_clip(), "get_tokenizer", fail)
    with pytest.raises(UsageError, match="pip install transformers"):
        resolve_encoders(f"open_clip:local-dir:{tiny_clip}")


def test_an_encoder_of_one_s_own_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom vlkge.encoders import Encoder\n"
        "class Size(Encoder):\n"
        "    name, revision, modality, dimension, preprocessing = 'size', '1', 'image', 2, 'none'\n"
        "    def encode(self, batch):\n"
        "        return np.array([picture.size for picture in batch], np.float32).reshape(-1, 2)\n"
        "thing = 3\n"
    )
    (encoder,) = resolve_encoders("mine.py:Size", beside=tmp_path)
    assert encoder.spec == "mine.py:Size"
    assert encoder.encode([picture(0, (30, 20))]).tolist() == [[30, 20]]
    with pytest.raises(UsageError, match="is no encoder"):
        resolve_encoders("mine.py:thing", beside=tmp_path)


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, name in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        assert find_device("auto").type == name


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "tpu"):
        with pytest.raises(UsageError, match="write cpu or auto"):
            find_device(device)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # in huggingface_hub's upload
def test_a_model_of_the_hub_gives_the_vectors_of_its_folder_and_names_its_commit(hub: Hub, tiny_clip: Path) -> None:
    api = HfApi()
    api.create_repo("org/clip")
    commit = api.upload_folder(repo_id="org/clip", folder_path=tiny_clip).oid
    there, _ = resolve_encoders("open_clip:hf-hub:org/clip")
    here, _ = resolve_encoders(f"open_clip:local-dir:{tiny_clip}")
    pictures = [picture(0, (40, 40))]
    assert (there.revision, there.weights_sha256) == (commit, here.weights_sha256)
    assert (there.encode(pictures) == here.encode(pictures)).all()


def test_each_text_is_read_once_beside_others_of_its_length_and_has_its_own_vector() -> None:
    texts, batches = [f"{'x' * (7 * i % 23)}{i % 30}" for i in range(40)] * 2, list[list[str]]()

    def encode(batch: list[str]) -> np.ndarray:
        batches.append(batch)
        return np.array([[len(text), int(text.strip("x"))] for text in batch], np.float32)

    found = encode_texts(encode, texts, 8)
    np.testing.assert_array_equal(found, [[len(text), int(text.strip("x"))] for text in texts])
    read = [text for batch in batches for text in batch]
    assert sorted(read) == sorted(set(texts))
    assert [len(text) for text in read] == sorted(len(text) for text in read)
    assert max(map(len, batches)) == 8
