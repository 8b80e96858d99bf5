"""The encoders of transformers: tiny models of each kind keep the contract; what could run code is refused."""

import json
import pickle
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from mkg_builder.errors import UpstreamError, UsageError
from tests.encoder_contract import PICTURES, TEXTS, NeedsAPackage, picture
from tests.local_hub import Hub
from vlkge.encoders import Encoder, resolve_encoders
from vlkge.encoders_transformers import import_transformers
from vlkge.errors import FeaturesError

LETTERS = string.ascii_lowercase + string.digits
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", ":", "{", "}", *LETTERS]
WORDS += [f"##{letter}" for letter in LETTERS]
TEXT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "vocab_size": len(WORDS), "initializer_range": 0.5,
}  # fmt: skip
PICTURE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 16, "initializer_range": 0.5,
}  # fmt: skip


def save_model(folder: Path, name: str, config: Any, tokenizer: bool = False, processor: str = "") -> Path:
    """A model of random weights with its tokenizer or its image processor, as the library itself saves it."""
    torch.manual_seed(0)
    getattr(import_transformers(), name)(config).save_pretrained(folder)
    if tokenizer:
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    if processor:
        values = {"image_processor_type": processor, "size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3]}
        (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models: bert, sentence, roberta, vit, dinov2, blip and clip."""
    library, folder = import_transformers(), tmp_path_factory.mktemp("models")
    save_model(folder / "bert", "BertModel", library.BertConfig(**TEXT), tokenizer=True)
    shutil.copytree(folder / "bert", folder / "sentence")
    parts = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for name, path in parts]
    (folder / "sentence" / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence" / "1_Pooling").mkdir()
    set_pooling(folder / "sentence", pooling_mode_cls_token=False, pooling_mode_mean_tokens=True)
    (folder / "sentence" / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": false}')
    roberta = library.RobertaConfig(**TEXT, pad_token_id=1)
    save_model(folder / "roberta", "RobertaModel", roberta, tokenizer=True)
    save_model(folder / "vit", "ViTModel", library.ViTConfig(**PICTURE), processor="ViTImageProcessor")
    save_model(folder / "dinov2", "Dinov2Model", library.Dinov2Config(**PICTURE), processor="BitImageProcessor")
    text = TEXT | {"encoder_hidden_size": 16, "projection_dim": 8}
    blip = library.BlipConfig(text_config=text, vision_config=PICTURE | {"projection_dim": 8}, image_text_hidden_size=8)
    save_model(folder / "blip", "BlipForImageTextRetrieval", blip, tokenizer=True, processor="BlipImageProcessor")
    return folder


def set_pooling(folder: Path, **values: Any) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(values))


class TransformersContract(NeedsAPackage):
    package, install = "transformers", r"'vlkge\[transformers\]'"
    model, side = "", 0

    @pytest.fixture(autouse=True)
    def _folder(self, models: Path) -> None:
        self.folder = models / self.model

    def encoder(self) -> Encoder:
        return resolve_encoders(f"transformers:local-dir:{self.folder}")[self.side]

    def test_weights_and_folder_are_hashed(self) -> None:
        encoder = self.encoder()
        assert len(encoder.weights_sha256 or "") == 64
        assert encoder.revision.startswith("sha256:")


class TestBert(TransformersContract):
    model = "bert"

    def test_a_vector_is_the_first_token_s_last_state(self) -> None:
        wanted = [states[0] for states in last_states(self.folder, TEXTS, 40)]
        np.testing.assert_allclose(self.encoder().encode(TEXTS), np.stack(wanted), atol=1e-5)
        assert '"max_length":40,"normalise":false,"pooling":"cls"' in self.encoder().preprocessing


class TestSentence(TransformersContract):
    model = "sentence"

    def test_a_vector_is_the_mean_of_the_tokens_states_at_unit_length(self) -> None:
        means = np.stack([states.mean(axis=0) for states in last_states(self.folder, TEXTS, 24)])
        wanted = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(self.encoder().encode(TEXTS), wanted, atol=1e-5)
        assert '"max_length":24,"normalise":true,"pooling":"mean"' in self.encoder().preprocessing


class TestRoberta(TransformersContract):
    model = "roberta"

    def test_it_reads_two_tokens_fewer_than_it_has_positions(self) -> None:
        assert '"max_length":38' in self.encoder().preprocessing


class TestVit(TransformersContract):
    model = "vit"

    def test_a_vector_is_the_class_token_s_last_state(self) -> None:
        model = import_transformers().ViTModel.from_pretrained(self.folder).eval()
        small = [np.asarray(one.resize((32, 32), 2), np.float32) / 255 for one in PICTURES]
        pixels = (np.stack(small) - [0.5, 0.4, 0.3]) / 0.5
        with torch.inference_mode():
            wanted = model(torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32)).last_hidden_state[:, 0]
        np.testing.assert_allclose(self.encoder().encode(PICTURES), wanted.numpy(), atol=1e-5)

    def test_the_folder_s_preprocessing_is_used_and_said(self) -> None:
        said = json.loads(self.encoder().preprocessing)
        assert (said["processor"], said["image_mean"]) == ("ViTImageProcessorPil", [0.5, 0.4, 0.3])


class TestDinov2(TransformersContract):
    model = "dinov2"


class TestBlipImage(TransformersContract):
    model = "blip"

    def test_pictures_and_texts_lie_in_the_model_s_own_common_space(self) -> None:
        image, text = resolve_encoders(f"transformers:local-dir:{self.folder}")
        library = import_transformers()
        model = library.BlipForImageTextRetrieval.from_pretrained(self.folder).eval()
        pixels = library.AutoImageProcessor.from_pretrained(self.folder, backend="pil")(PICTURES, return_tensors="pt")
        tokens = library.AutoTokenizer.from_pretrained(self.folder)(TEXTS[0], return_tensors="pt")
        with torch.inference_mode():
            wanted = model(tokens["input_ids"], pixels["pixel_values"], use_itm_head=False).itm_score
        np.testing.assert_allclose(image.encode(PICTURES) @ text.encode(TEXTS[:1]).T, wanted.numpy(), atol=1e-5)
        assert (image.dimension, text.dimension, image.weights_sha256) == (8, 8, text.weights_sha256)


class TestBlipText(TransformersContract):
    model, side = "blip", 1


def last_states(folder: Path, texts: list[str], length: int) -> list[np.ndarray]:
    """The last layer's states of each text alone, by the library's own classes."""
    library = import_transformers()
    tokenizer, model = library.AutoTokenizer.from_pretrained(folder), library.BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        each = [tokenizer(text, truncation=True, max_length=length, return_tensors="pt") for text in texts]
        return [model(**tokens).last_hidden_state[0].numpy() for tokens in each]


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def copied(models: Path, name: str, folder: Path) -> Path:
    return Path(shutil.copytree(models / name, folder / name))


def test_a_checkpoint_without_the_pooler_that_is_not_used_gives_one_hash(models: Path, tmp_path: Path) -> None:
    folder = copied(models, "bert", tmp_path)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    first, second, whole = (
        resolve_encoders(f"transformers:local-dir:{place}")[0] for place in (folder, folder, models / "bert")
    )
    assert first.weights_sha256 == second.weights_sha256 == whole.weights_sha256


def test_sentence_transformers_files_decide_pooling_prompt_and_case(models: Path, tmp_path: Path) -> None:
    folder = copied(models, "sentence", tmp_path)
    set_pooling(folder, pooling_mode="cls")
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"q": "A: "}, "default_prompt_name": "q"}')
    states = last_states(folder, ["A: monet"], 24)[0][0]
    vector = resolve_encoders(f"transformers:local-dir:{folder}")[0].encode(["MONET"])[0]
    np.testing.assert_allclose(vector, states / np.linalg.norm(states), atol=1e-5)


def _pickled(folder: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (folder / "opened",)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def _pickled_by_index(folder: Path) -> None:
    _pickled(folder)
    save_file({"a": torch.ones(1)}, folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')


def _pickled_by_config(folder: Path) -> None:
    _pickled(folder)
    save_file({"a": torch.ones(1)}, folder / "other.safetensors")
    change_json(folder / "config.json", transformers_weights="pytorch_model.bin")


def _pickled_under_the_right_name(folder: Path) -> None:
    _pickled(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")


def _incomplete(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("bert", lambda folder: (folder / "config.json").unlink(), "needs config.json"),
        ("bert", lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        ("bert", _pickled, "no .safetensors weights; pickled ones"),
        ("bert", _pickled_by_index, "index.json names weights that are not safetensors"),
        ("bert", _pickled_by_config, "config.json names weights that are not safetensors"),
        ("bert", _pickled_under_the_right_name, "does not load as a model of transformers"),
        ("bert", _incomplete, "lacks weights of the model, encoder.layer.1.output.dense.weight among 1"),
        ("bert", lambda folder: change_json(folder / "config.json", auto_map={}), r"config.json .*\(auto_map\)"),
        ("bert", lambda f: change_json(f / "tokenizer_config.json", auto_map={}), r"tokenizer_config.json .*auto_map"),
        ("vit", lambda f: change_json(f / "preprocessor_config.json", auto_map={}), "preprocessor_config.json .*auto"),
        ("sentence", lambda folder: set_pooling(folder, pooling_mode="max"), "pools its tokens by max"),
        (
            "sentence",
            lambda folder: (folder / "modules.json").write_text('[{"path": "", "type": "x.Dense"}]'),
            "parts that are not served: Dense",
        ),
    ],
)
def test_a_model_that_is_unsafe_or_not_whole_is_one_line_and_nothing_of_it_runs(
    models: Path, tmp_path: Path, name: str, spoil: Callable[[Path], object], message: str
) -> None:
    folder = copied(models, name, tmp_path)
    spoil(folder)
    with pytest.raises(FeaturesError, match=message) as caught:
        resolve_encoders(f"transformers:local-dir:{folder}")
    assert "\n" not in str(caught.value)
    assert not (folder / "opened").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("clip", "which open_clip serves; write open_clip:"), ("gpt2", "served: bert, blip, dinov2")],
)
def test_a_model_of_another_kind_says_what_serves_it(models: Path, tmp_path: Path, kind: str, message: str) -> None:
    folder = copied(models, "bert", tmp_path)
    change_json(folder / "config.json", model_type=kind)
    with pytest.raises(UsageError, match=message):
        resolve_encoders(f"transformers:local-dir:{folder}")


@pytest.mark.parametrize("argument", ["", "bert", "a/b/c", "package:no_such", "package:os.path"])
def test_an_argument_of_another_form_shows_the_forms(argument: str) -> None:
    with pytest.raises(UsageError, match="write transformers:ORG/NAME@REVISION"):
        resolve_encoders(f"transformers:{argument}")


def test_a_model_inside_an_installed_package_is_found_without_importing_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_a_model"
    shutil.copytree(models / "sentence", package / "model")
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (encoder,) = resolve_encoders("transformers:package:carries_a_model")
    (same,) = resolve_encoders(f"transformers:local-dir:{package / 'model'}")
    assert (encoder.name, encoder.revision) == ("carries_a_model", same.revision)
    assert (encoder.encode(TEXTS) == same.encode(TEXTS)).all()


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # in huggingface_hub's upload
def test_a_model_of_the_hub_is_pinned_to_its_commit_and_read_offline_without_its_pickle(
    hub: Hub, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(models, "vit", tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    api = HfApi()
    api.create_repo("org/vit")
    commit = api.upload_folder(repo_id="org/vit", folder_path=folder).oid
    (online,) = resolve_encoders(f"transformers:org/vit@{commit}")
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="org/vit")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (offline,) = resolve_encoders(f"transformers:org/vit@{commit}")
    assert online.info() == offline.info()
    assert (online.name, online.revision) == ("org/vit", commit)
    assert (
        online.encode([picture(0)]) == resolve_encoders(f"transformers:local-dir:{folder}")[0].encode([picture(0)])
    ).all()
    with pytest.raises(UpstreamError, match="not downloaded"):
        resolve_encoders("transformers:org/none")
