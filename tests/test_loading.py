"""`load` and `save_weights`: what they take, what they refuse, and that nothing is lost."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import CheckpointError, UnknownModelError, UsageError
from keras_vit.weights.files import open_checkpoint, write_safetensors

NAME = "vit_tiny_patch16_224"
SMALL = {"image_size": 32, "patch_size": 8, "depth": 2}


def tiny(name: str = NAME, **arguments: object) -> keras.Model:
    return keras_vit.load(name, **{"weights": None, "num_classes": 4, **SMALL, **arguments})


def tensors(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of timm names with random values everywhere."""
    model = tiny()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return keras_vit.save_weights(model, tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def changed(checkpoint: Path, path: Path, **changes: np.ndarray | None) -> Path:
    """A copy of the checkpoint with tensors replaced, added, or left out where None."""
    merged = {**tensors(checkpoint), **{k.replace("__", "."): v for k, v in changes.items()}}
    write_safetensors(path, {k: v for k, v in merged.items() if v is not None})
    return path


def test_round_trip_is_bit_equal(checkpoint: Path, tmp_path: Path) -> None:
    again = keras_vit.save_weights(tiny(weights=checkpoint), tmp_path / "again.safetensors")
    before, after = tensors(checkpoint), tensors(again)
    assert before.keys() == after.keys()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_kernels_are_torchs_way_round(checkpoint: Path) -> None:
    shapes = {name: array.shape for name, array in tensors(checkpoint).items()}
    assert shapes["blocks.0.mlp.fc1.weight"] == (768, 192)
    assert shapes["patch_embed.proj.weight"] == (192, 3, 8, 8)


def test_a_distilled_model_keeps_both_heads(tmp_path: Path) -> None:
    model = tiny("deit_tiny_distilled_patch16_224")
    path = keras_vit.save_weights(model, tmp_path / "distilled.safetensors")
    assert {"head.weight", "head_dist.weight", "dist_token"} <= tensors(path).keys()
    tiny("deit_tiny_distilled_patch16_224", weights=path)


def test_report_lists_every_tensor(checkpoint: Path) -> None:
    report = tiny(weights=checkpoint).load_report
    assert set(report.loaded) == tensors(checkpoint).keys()
    assert (report.resized, report.reinitialised, report.unused) == ((), (), ())


def test_another_number_of_classes_gives_a_new_head(checkpoint: Path) -> None:
    model = tiny(weights=checkpoint, num_classes=6)
    assert model.load_report.reinitialised == ("head/kernel", "head/bias")
    assert 0.01 < np.std(np.asarray(model.get_layer("head").kernel)) < 0.03


def test_no_classes_leaves_the_head_unused(checkpoint: Path) -> None:
    report = tiny(weights=checkpoint, num_classes=0).load_report
    assert set(report.unused) == {"head.weight", "head.bias"}


def test_another_size_resizes_the_positions(checkpoint: Path) -> None:
    report = tiny(weights=checkpoint, image_size=(48, 64)).load_report
    (row,) = report.resized
    assert row == ("pos_embed", (1, 17, 192), (1, 49, 192), "bicubic_antialias")


def test_a_keras_file_can_be_loaded_at_another_size(checkpoint: Path, tmp_path: Path) -> None:
    tiny(weights=checkpoint).save(tmp_path / "tiny.keras")
    from_keras = tiny(weights=tmp_path / "tiny.keras", image_size=48)
    from_timm = tiny(weights=checkpoint, image_size=48)
    for ours, theirs in zip(from_keras.get_weights(), from_timm.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_labels_set_the_number_of_classes() -> None:
    model = tiny(num_classes=None, labels=["cat", "dog"])
    assert model.output.shape == (None, 2)
    assert model.labels == ("cat", "dog")


def test_the_published_labels_come_along() -> None:
    assert tiny(num_classes=None).labels[207] == "golden retriever"


def test_preprocessing_follows_size_and_channels() -> None:
    spec = tiny("deit_tiny_patch16_224", image_size=48, in_chans=1).config.preprocessing
    assert spec.image_size == (48, 48)
    assert spec.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))


def test_a_name_without_weights_says_so() -> None:
    with pytest.raises(CheckpointError, match="weights=None"):
        keras_vit.load("vit_large_patch14_224.untrained")


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match="vit_tiny_patch16_224"):
        keras_vit.load("vit_tiny_patch61_224", weights=None)


def test_unknown_argument_gives_the_nearest() -> None:
    with pytest.raises(UsageError, match="'drop_path_rate'"):
        tiny(drop_pathrate=0.1)


def test_labels_and_classes_must_agree() -> None:
    with pytest.raises(UsageError, match="num_classes=4, but there are 2 labels"):
        tiny(labels=["cat", "dog"])


def test_wrong_class_count_says_what_to_pass(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="pass num_classes=4"):
        tiny(weights=checkpoint, num_classes=None)


def test_a_missing_tensor_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    path = changed(checkpoint, tmp_path / "x.safetensors", norm__bias=None)
    with pytest.raises(CheckpointError, match=r"missing: norm\.bias.*partial=True"):
        tiny(weights=path)


def test_an_unused_tensor_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    path = changed(checkpoint, tmp_path / "x.safetensors", other=np.zeros(3, "float32"))
    with pytest.raises(CheckpointError, match="of no use to this model: other"):
        tiny(weights=path)


def test_a_wrong_shape_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    path = changed(checkpoint, tmp_path / "x.safetensors", norm__bias=np.zeros(5, "float32"))
    with pytest.raises(CheckpointError, match=r"norm\.bias has the shape \(5,\)"):
        tiny(weights=path)


def test_not_a_number_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    nan = np.full(192, np.nan, "float32")
    path = changed(checkpoint, tmp_path / "x.safetensors", norm__bias=nan)
    with pytest.raises(CheckpointError, match=r"norm\.bias"):
        tiny(weights=path)


def test_partial_loads_what_fits_and_reports_the_rest(checkpoint: Path, tmp_path: Path) -> None:
    path = changed(
        checkpoint, tmp_path / "x.safetensors", norm__bias=None, other=np.zeros(3, "float32")
    )
    report = tiny(weights=path, partial=True).load_report
    assert report.reinitialised == ("norm/beta",)
    assert report.unused == ("other",)


def test_a_truncated_checkpoint_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        tiny(weights=path)


def test_a_damaged_keras_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(CheckpointError, match=r"model\.keras: damaged or truncated"):
        keras_vit.load(path)


def test_a_saved_file_is_not_rebuilt(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="comes back as it was saved; to change image_size"):
        keras_vit.load(tmp_path / "model.keras", image_size=64)


def test_save_weights_does_not_overwrite(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        keras_vit.save_weights(tiny(), checkpoint)


@pytest.mark.usefixtures("few_objects")
def test_save_weights_refuses_a_quantised_model(tmp_path: Path) -> None:
    model = tiny()
    model.quantize("int8")
    with pytest.raises(UsageError, match="has no name for"):
        keras_vit.save_weights(model, tmp_path / "int8.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_written_file_has_the_usual_permissions(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    assert checkpoint.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout must be one of timm"):
        keras_vit.save_weights(tiny(), tmp_path / "x.safetensors", layout="tim")
