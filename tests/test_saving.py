"""`save_weights` and the formats of other libraries: what goes out comes back, bit by bit."""

import hashlib
import json
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import CheckpointError, UsageError
from keras_vit.weights.files import open_checkpoint, write_npz, write_safetensors

NAME = "vit_tiny_patch16_224"
DISTILLED = "deit_tiny_distilled_patch16_224"
SMALL = {"image_size": 16, "patch_size": 8, "depth": 2, "embed_dim": 12, "num_heads": 3}
FILES = {"npz": "x.npz", "huggingface": "x.safetensors", "timm": "x.safetensors"}
LAYOUTS = pytest.mark.parametrize("layout", FILES)


def small(name: str = NAME, **arguments: object) -> keras.Model:
    return keras_vit.load(name, **{"weights": None, "num_classes": 4, **SMALL, **arguments})


def randomised(**arguments: object) -> keras.Model:
    model = small(**arguments)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def tensors(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


def assert_same(model: keras.Model, other: keras.Model) -> None:
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=ours.path)


@LAYOUTS
@pytest.mark.parametrize(
    "arguments",
    [{}, {"qkv_bias": True, "num_classes": 0}, {"representation_size": 7, "num_classes": 0}],
    ids=["classifier", "features", "pre_logits"],
)
def test_every_weight_comes_back(tmp_path: Path, layout: str, arguments: dict) -> None:
    model = randomised(**arguments)
    path = keras_vit.save_weights(model, tmp_path / FILES[layout], layout)
    again = small(weights=path, **arguments)
    assert again.load_report.layout == layout
    assert again.load_report.reinitialised == ()
    assert_same(model, again)


@pytest.mark.parametrize("layout", ["huggingface", "timm"])
def test_a_distilled_model_comes_back(tmp_path: Path, layout: str) -> None:
    model = randomised(name=DISTILLED)
    path = keras_vit.save_weights(model, tmp_path / "x.safetensors", layout)
    assert_same(model, small(DISTILLED, weights=path))


def test_a_pre_training_head_comes_back_as_npz(tmp_path: Path) -> None:
    model = randomised(representation_size=12)
    path = keras_vit.save_weights(model, tmp_path / "x.npz")
    assert_same(model, small(weights=path, representation_size=12))


# --- the suffix and the layout -------------------------------------------------------------------


def test_the_suffix_chooses_the_layout(tmp_path: Path) -> None:
    assert "cls" in tensors(keras_vit.save_weights(small(), tmp_path / "x.npz"))
    assert "cls_token" in tensors(keras_vit.save_weights(small(), tmp_path / "x.safetensors"))


@pytest.mark.parametrize(("layout", "file"), [("npz", "x.safetensors"), ("timm", "x.npz")])
def test_another_suffix_is_refused(tmp_path: Path, layout: str, file: str) -> None:
    with pytest.raises(UsageError, match=f"{layout} weights are written as"):
        keras_vit.save_weights(small(), tmp_path / file, layout)


def test_a_suffix_that_nothing_is_written_as(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors or \.npz"):
        keras_vit.save_weights(small(), tmp_path / "x.pth")


@pytest.mark.parametrize("layout", ["npz", "huggingface"])
@pytest.mark.parametrize("arguments", [{"global_pool": "avg"}, {"no_embed_class": True}], ids=str)
def test_a_model_that_the_library_does_not_have(
    tmp_path: Path, layout: str, arguments: dict
) -> None:
    with pytest.raises(UsageError, match=f"{layout} has no model with {next(iter(arguments))}"):
        keras_vit.save_weights(small(**arguments), tmp_path / FILES[layout], layout)


@pytest.mark.parametrize("layout", ["npz", "huggingface"])
def test_a_weight_that_the_library_does_not_have(tmp_path: Path, layout: str) -> None:
    with pytest.raises(UsageError, match="has no name for blocks_0/ls1/gamma"):
        keras_vit.save_weights(small(init_values=0.1), tmp_path / FILES[layout], layout)
    assert not list(tmp_path.iterdir())


def test_a_head_behind_a_pooler_is_no_class_of_transformers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no name for pre_logits"):
        keras_vit.save_weights(
            small(representation_size=7), tmp_path / "x.safetensors", "huggingface"
        )


# --- .npz ----------------------------------------------------------------------------------------


def test_an_npz_has_googles_names_and_shapes(tmp_path: Path) -> None:
    with np.load(keras_vit.save_weights(small(), tmp_path / "x.npz"), allow_pickle=False) as file:
        block = "Transformer/encoderblock_1"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        assert file[f"{attention}/query/kernel"].shape == (12, 3, 4)
        assert file[f"{attention}/value/bias"].shape == (3, 4)
        assert file[f"{attention}/out/kernel"].shape == (3, 4, 12)
        assert file[f"{block}/MlpBlock_3/Dense_0/kernel"].shape == (12, 48)
        assert file["embedding/kernel"].shape == (8, 8, 3, 12)


def npz(tmp_path: Path, rename: tuple[str, str] = ("", "")) -> tuple[keras.Model, Path]:
    """A model, and its .npz with other names."""
    model = randomised()
    arrays = tensors(keras_vit.save_weights(model, tmp_path / "plain.npz"))
    write_npz(tmp_path / "x.npz", {k.replace(*rename): v for k, v in arrays.items()})
    return model, tmp_path / "x.npz"


@pytest.mark.parametrize("prefix", ["opt/target/", "params/", "params/img/"])
def test_prefixes_of_training_files(tmp_path: Path, prefix: str) -> None:
    model = randomised()
    arrays = tensors(keras_vit.save_weights(model, tmp_path / "plain.npz"))
    write_npz(tmp_path / "x.npz", {prefix + name: array for name, array in arrays.items()})
    assert_same(model, small(weights=tmp_path / "x.npz"))


def test_numbers_of_linen(tmp_path: Path) -> None:
    model = randomised()
    arrays = tensors(keras_vit.save_weights(model, tmp_path / "plain.npz"))
    linen = {
        "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
        "LayerNorm_2": "LayerNorm_1",
        "MlpBlock_3": "MlpBlock_0",
    }
    renamed = {}
    for name, array in arrays.items():
        for before, after in linen.items():
            name = name.replace(before, after)
        renamed[name] = array
    write_npz(tmp_path / "x.npz", renamed)
    assert_same(model, small(weights=tmp_path / "x.npz"))


def test_raw_bfloat16(tmp_path: Path) -> None:
    model = randomised()
    arrays = tensors(keras_vit.save_weights(model, tmp_path / "plain.npz"))
    short = {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}
    write_npz(tmp_path / "x.npz", {name: array.view("V2") for name, array in short.items()})
    again = small(weights=tmp_path / "x.npz")
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        expected = np.asarray(theirs).astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(ours), expected)


def test_an_npz_of_another_number_of_heads_is_refused(tmp_path: Path) -> None:
    _, path = npz(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"query/kernel has the shape \(12, 3, 4\).*\(12, 2, 6\)"
    ):
        small(weights=path, num_heads=2)


def test_a_pre_training_head_is_not_left_out_unasked(tmp_path: Path) -> None:
    """As wide as the model, so that the classifier behind it would fit and give nonsense."""
    path = keras_vit.save_weights(randomised(representation_size=12), tmp_path / "x.npz")
    published = {"num_classes": None, "weights": path}
    with pytest.raises(CheckpointError, match="pre_logits"):
        small("vit_base_patch16_224.orig_in21k", **published)


@pytest.mark.parametrize("file", ["x.npz", "x.safetensors"])
def test_a_new_classifier_stands_behind_the_pre_training_head(tmp_path: Path, file: str) -> None:
    model = randomised(representation_size=7)
    path = keras_vit.save_weights(model, tmp_path / file)
    again = small(weights=path, representation_size=7, num_classes=5)
    assert again.load_report.reinitialised == ("head/kernel", "head/bias")
    kernel = again.get_layer("pre_logits").kernel
    np.testing.assert_array_equal(kernel, model.get_layer("pre_logits").kernel)


@pytest.mark.parametrize("file", ["x.npz", "x.safetensors"])
def test_a_classifier_does_not_outlive_the_pre_training_head(tmp_path: Path, file: str) -> None:
    """Its kernel would fit a model without that layer, and give nonsense."""
    path = keras_vit.save_weights(randomised(representation_size=12), tmp_path / file)
    report = small(weights=path).load_report
    assert report.reinitialised == ("head/kernel", "head/bias")
    assert {name[:10] for name in report.unused} == {"pre_logits"}


def test_a_pre_training_head_that_is_new_is_initialised(tmp_path: Path) -> None:
    path = keras_vit.save_weights(randomised(), tmp_path / "x.npz")
    model = small(weights=path, representation_size=7)
    assert "pre_logits/kernel" in model.load_report.reinitialised
    assert np.std(np.asarray(model.get_layer("pre_logits").kernel)) > 0


# --- numerics ------------------------------------------------------------------------------------


def test_an_npz_selects_the_authors_arithmetic(tmp_path: Path) -> None:
    _, path = npz(tmp_path)
    model = small(weights=path)
    assert (model.config.numerics, model.load_report.numerics) == ("source", "source")
    assert model.config.arguments["act"] == "gelu_tanh"
    assert "numerics: source" in str(model.load_report)


def test_unless_the_user_asks_otherwise(tmp_path: Path) -> None:
    _, path = npz(tmp_path)
    model = small(weights=path, numerics="timm")
    assert model.load_report.numerics == "timm"
    assert model.config.arguments["act"] == "gelu"


@pytest.mark.parametrize(
    ("numerics", "method"), [(None, "linear_align_corners"), ("timm", "bicubic_antialias")]
)
def test_positions_are_resized_as_the_numerics_do(
    tmp_path: Path, numerics: str | None, method: str
) -> None:
    _, path = npz(tmp_path)
    (row,) = small(weights=path, numerics=numerics, image_size=40).load_report.resized
    assert row[0].endswith("pos_embedding") and row[3] == method


def test_other_files_keep_the_catalogues_numerics(tmp_path: Path) -> None:
    path = keras_vit.save_weights(small(), tmp_path / "x.safetensors")
    assert small(weights=path).load_report.numerics == "timm"


# --- Hugging Face --------------------------------------------------------------------------------


def folder_of(tmp_path: Path, **arguments: object) -> Path:
    model = randomised(**arguments)
    keras_vit.save_weights(model, tmp_path / "model.safetensors", "huggingface")
    return tmp_path


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("arguments", "model_type", "architecture"),
    [
        ({}, "vit", "ViTForImageClassification"),
        ({"num_classes": 0}, "vit", "ViTForImageClassification"),
        ({"num_classes": 0, "representation_size": 7}, "vit", "ViTModel"),
        ({"name": DISTILLED}, "deit", "DeiTForImageClassificationWithTeacher"),
    ],
)
def test_the_config_beside_a_pretrained_file(
    tmp_path: Path, arguments: dict, model_type: str, architecture: str
) -> None:
    config = json.loads((folder_of(tmp_path, **arguments) / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == (model_type, [architecture])
    assert (config["hidden_size"], config["num_attention_heads"]) == (12, 3)
    assert (config["image_size"], config["patch_size"], config["layer_norm_eps"]) == (16, 8, 1e-6)


def test_labels_are_in_the_config(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, num_classes=None, labels=["cat", "dog"])
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "cat", "1": "dog"}
    assert config["label2id"] == {"cat": 0, "dog": 1}


def test_a_file_of_another_name_comes_alone(tmp_path: Path) -> None:
    keras_vit.save_weights(small(), tmp_path / "x.safetensors", "huggingface")
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_config_that_exists_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(UsageError, match=r"config\.json exists"):
        folder_of(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_folders_config_sets_epsilon_and_activation(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    change_config(folder, layer_norm_eps=1e-12, hidden_act="gelu_new")
    for weights in (folder, folder / "model.safetensors"):
        model = small(weights=weights)
        assert dict(model.load_report.settings) == {"norm_eps": 1e-12, "act": "gelu_tanh"}
        assert model.get_layer("norm").epsilon == 1e-12
    assert "norm_eps=1e-12, as its config.json says" in str(model.load_report)


@pytest.mark.parametrize("asked", [{"numerics": "timm"}, {"norm_eps": 1e-6}], ids=str)
def test_what_the_user_asks_for_comes_first(tmp_path: Path, asked: dict) -> None:
    folder = folder_of(tmp_path)
    change_config(folder, layer_norm_eps=1e-12)
    assert small(weights=folder, **asked).get_layer("norm").epsilon == 1e-6


def test_a_config_beside_other_names_is_not_read(tmp_path: Path) -> None:
    """timm's folders have one too, which says nothing of the arithmetic."""
    keras_vit.save_weights(small(), tmp_path / "model.safetensors", "timm")
    (tmp_path / "config.json").write_text('{"layer_norm_eps": 0.5}')
    assert small(weights=tmp_path).load_report.settings == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b"[1, 2]",
        b"3",
        b"\xff\xfe",
        b'{"layer_norm_eps": "1e-6"}',
        b'{"layer_norm_eps": NaN}',
        b'{"layer_norm_eps": -1.0}',
        b'{"layer_norm_eps": 1}',
        b'{"hidden_act": "relu"}',
        b'{"hidden_act": ["gelu"]}',
    ],
)
def test_a_config_that_makes_no_sense(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(tmp_path)
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json") as error:
        small(weights=folder)
    assert "\n" not in str(error.value)


def test_a_base_models_file_and_its_pooler(tmp_path: Path) -> None:
    """Without a prefix, as google/vit-base-patch16-224-in21k; a pooler is dropped unless asked for."""
    model = randomised(num_classes=0, representation_size=7)
    path = keras_vit.save_weights(model, tmp_path / "x.safetensors", "huggingface")
    assert {"embeddings.cls_token", "pooler.dense.weight"} <= tensors(path).keys()
    report = small(weights=path, num_classes=0).load_report
    assert set(report.unused) == {"vit.pooler.dense.weight", "vit.pooler.dense.bias"}
    assert_same(model, small(weights=path, num_classes=0, representation_size=7))


# --- the original DeiT files ---------------------------------------------------------------------


def test_layer_scale_of_deit_3(tmp_path: Path) -> None:
    name = "deit3_small_patch16_224"
    model = randomised(name=name)
    arrays = tensors(keras_vit.save_weights(model, tmp_path / "x.safetensors"))
    old = {
        k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v
        for k, v in arrays.items()
    }
    assert "blocks.1.gamma_2" in old
    write_safetensors(tmp_path / "old.safetensors", old)
    assert_same(model, small(name, weights=tmp_path / "old.safetensors"))


# --- another source ------------------------------------------------------------------------------


def test_source_overrides_what_the_names_say(tmp_path: Path) -> None:
    path = keras_vit.save_weights(small(), tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: .*embeddings\.cls_token"):
        small(weights=path, source="huggingface")


def test_an_unknown_source(tmp_path: Path) -> None:
    path = keras_vit.save_weights(small(), tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="source must be one of timm, npz, huggingface"):
        small(weights=path, source="tim")


# --- SHA-256 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["x.safetensors", "x.npz"])
def test_a_flipped_weight_is_seen_when_the_sha256_is_known(tmp_path: Path, file: str) -> None:
    path = keras_vit.save_weights(randomised(), tmp_path / file)
    content = bytearray(path.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    small(weights=path, sha256=digest)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the expected file"):
        small(weights=path, sha256=digest)


def test_a_saved_model_of_another_sha256(tmp_path: Path) -> None:
    small().save(tmp_path / "x.keras")
    with pytest.raises(CheckpointError, match="is not the expected file"):
        keras_vit.load(tmp_path / "x.keras", sha256="0" * 64)


def test_a_sha256_that_is_none_is_refused_before_the_hub_is_asked() -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        keras_vit.load(NAME, sha256="abc")
