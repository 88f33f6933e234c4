"""`convert`: checkpoints in, `.keras` and `.safetensors` files out, and the report of it."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_vit

SETTINGS = {"depth": 1, "embed_dim": 48, "num_heads": 2, "patch_size": 4, "image_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With one model of three classes, as `three.keras` and as `three.safetensors` of timm's names."""
    folder = tmp_path_factory.mktemp("convert")
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, num_classes=3, **SETTINGS)
    model.save(folder / "three.keras")
    keras_vit.save_weights(model, folder / "three.safetensors")
    return folder


@pytest.fixture(scope="module")
def named(tiny):
    """The options that name the model in `folder`."""
    name, _, _, *settings = tiny
    return ["--model", name, *settings]


@pytest.fixture(scope="module")
def to_timm(cli, folder):
    return cli("convert", "three.keras", "to_timm.safetensors", cwd=folder)


@pytest.fixture(scope="module")
def to_keras(cli, folder, named):
    (folder / "names.txt").write_text("rose\ndaisy\ntulip\n")
    options = [*named, "--labels", "names.txt", "--json"]
    return cli("convert", "three.safetensors", "to_keras.keras", *options, cwd=folder)


def test_a_saved_model_to_timms_names(to_timm, folder):
    assert to_timm.code == 0, to_timm.err
    written, expected = (load_file(folder / f"{n}.safetensors") for n in ("to_timm", "three"))
    assert written.keys() == expected.keys()
    assert all(np.array_equal(written[name], expected[name]) for name in expected)


def test_what_was_written_is_said(to_timm):
    assert (
        "to_timm.safetensors: vit_tiny_patch16_224.augreg_in21k_ft_in1k, timm names" in to_timm.out
    )


def test_a_checkpoint_to_a_saved_model(to_keras, folder):
    assert to_keras.code == 0, to_keras.err
    model, expected = (keras_vit.load(folder / f"{n}.keras") for n in ("to_keras", "three"))
    for variable, other in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)


def test_labels_from_a_file_travel_with_the_model(to_keras, folder):
    assert keras_vit.load(folder / "to_keras.keras").labels == ("rose", "daisy", "tulip")


def test_the_report_tells_of_every_tensor(to_keras, folder):
    report = to_keras.json["load"]
    assert sorted(report["loaded"]) == sorted(load_file(folder / "three.safetensors"))
    assert report["resized"] == report["reinitialised"] == report["unused"] == []


def test_nothing_else_is_left(to_timm, to_keras, folder):
    assert not list(folder.glob(".*"))


def test_wrong_class_count(cli, folder, named):
    result = cli("convert", "three.safetensors", "x.keras", *named, cwd=folder)
    assert (result.code, result.out) == (1, "")
    assert "head.weight has the shape (3, 48)" in result.error
    assert result.error.endswith("pass --num-classes 3")
    assert not (folder / "x.keras").exists()


def test_a_class_count_that_the_checkpoint_has_not(folder):
    with pytest.raises(
        keras_vit.errors.CheckpointError, match="gives nothing that fits head/kernel"
    ):
        keras_vit.convert(
            folder / "three.safetensors",
            folder / "x.keras",
            "vit_tiny_patch16_224",
            num_classes=4,
            **SETTINGS,
        )
    assert not (folder / "x.keras").exists()


def test_partial_reports_what_is_new(folder, tmp_path):
    tensors = load_file(folder / "three.safetensors")
    del tensors["norm.bias"]
    save_file(tensors, tmp_path / "less.safetensors")
    report = keras_vit.convert(
        tmp_path / "less.safetensors",
        tmp_path / "x.keras",
        "vit_tiny_patch16_224",
        num_classes=3,
        partial=True,
        **SETTINGS,
    )
    assert report.load.reinitialised == ("norm/beta",)


def test_an_existing_output_is_replaced_on_request(folder, tmp_path):
    output = tmp_path / "x.safetensors"
    output.write_text("old")
    keras_vit.convert(folder / "three.keras", output, overwrite=True)
    assert load_file(output).keys() == load_file(folder / "three.safetensors").keys()


# --- other libraries -----------------------------------------------------------------------------


def test_a_saved_model_to_googles_names(cli, folder, named):
    written = cli("convert", "three.keras", "three.npz", "--json", cwd=folder).json
    assert (written["layout"], written["path"]) == ("npz", "three.npz")
    with np.load(folder / "three.npz", allow_pickle=False) as file:
        assert file["head/kernel"].shape == (48, 3)


def test_a_saved_model_to_a_folder_that_transformers_takes(cli, folder, tmp_path):
    output = tmp_path / "model.safetensors"
    written = cli(
        "convert", folder / "three.keras", output, "--layout", "huggingface", "--json"
    ).json
    assert written["layout"] == "huggingface"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert "vit.embeddings.cls_token" in load_file(output)


def test_a_config_that_exists_is_not_replaced(folder, tmp_path):
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(keras_vit.errors.UsageError, match=r"config\.json exists"):
        keras_vit.convert(
            folder / "three.keras", tmp_path / "model.safetensors", layout="huggingface"
        )
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_layout_of_another_suffix(folder, tmp_path):
    with pytest.raises(keras_vit.errors.UsageError, match=r"written as \.npz. Received: x\.safe"):
        keras_vit.convert(folder / "three.keras", tmp_path / "x.safetensors", layout="npz")
    assert not list(tmp_path.iterdir())


def test_a_layout_of_a_keras_file(folder, tmp_path):
    with pytest.raises(keras_vit.errors.UsageError, match="has Keras' own names"):
        keras_vit.convert(folder / "three.keras", tmp_path / "x.keras", layout="timm")


def test_an_argument_that_load_does_not_take(folder, tmp_path):
    with pytest.raises(keras_vit.errors.UsageError, match="the nearest one is 'drop_path_rate'"):
        keras_vit.convert(
            folder / "three.safetensors",
            tmp_path / "x.keras",
            "vit_tiny_patch16_224",
            drop_pathrate=0.1,
        )


@pytest.mark.parametrize("file", ["three.keras", "three.safetensors"])
def test_a_file_of_another_sha256(cli, folder, named, file):
    options = [] if file == "three.keras" else [*named, "--num-classes", "3"]
    result = cli("convert", file, "x.npz", *options, "--sha256", "0" * 64, cwd=folder)
    assert result.code == 1
    assert f"{file} is not the expected file: its SHA-256 is " in result.error
    assert not (folder / "x.npz").exists()


def test_the_file_of_that_sha256(folder, tmp_path):
    digest = hashlib.sha256((folder / "three.keras").read_bytes()).hexdigest()
    keras_vit.convert(folder / "three.keras", tmp_path / "x.npz", sha256=digest)
    assert (tmp_path / "x.npz").exists()
