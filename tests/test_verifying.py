"""`verify` against the outputs that are shipped, and against timm itself."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import keras_vit
from keras_vit import catalogue, verifying, zoo
from keras_vit.errors import CheckpointError, MissingPackageError, UsageError

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
GOLDEN = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(zoo.__file__).parent / "golden").glob("*.json"))
}
ARCHITECTURES = [name for family in GOLDEN.values() for name in family]


def test_a_model_that_is_as_its_reference() -> None:
    report = keras_vit.verify(NAME)
    assert report.passed
    assert set(report.blocks) == {"blocks_0", "blocks_1"}
    assert report.reference.startswith("timm ")
    assert max(*report.blocks.values(), report.output) < 2e-5


@pytest.mark.slow
@pytest.mark.in_turn(20)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_that_is_shipped(architecture: str) -> None:
    report = keras_vit.verify(architecture, against="golden")
    assert report.passed, report


def test_every_golden_is_an_architectures() -> None:
    known = {
        (card.family, card.architecture) for card in map(catalogue.info, catalogue.list_models())
    }
    assert {(family, name) for family, entries in GOLDEN.items() for name in entries} <= known
    assert ARCHITECTURES


def changed(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """As if the reference had been another one."""
    entries = verifying._goldens("vit")
    entries["vit_tiny_patch16_224"].update(changes)
    monkeypatch.setattr(verifying, "_goldens", lambda family: entries)


def test_another_form_of_gelu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, numerics="source")
    report = keras_vit.verify(NAME)
    assert not report.passed
    assert report.blocks["blocks_0"] > report.tolerance


def test_another_image_size_is_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reference was run at another size, so is the model."""
    changed(monkeypatch, size=[64, 64])
    assert not keras_vit.verify(NAME).passed


def test_half_precision_has_a_tolerance_of_its_own() -> None:
    report = keras_vit.verify(NAME, dtype="mixed_bfloat16")
    assert report.compute_dtype == "bfloat16"
    assert 1e-4 < report.output <= report.tolerance


def test_no_golden_of_weights_of_a_file() -> None:
    with pytest.raises(UsageError, match="with weights of a file"):
        keras_vit.verify(NAME, weights="x.safetensors", against="golden")


def test_timm_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="timm is not installed: pip install"):
        keras_vit.verify(NAME, against="timm")


def test_against_something_else() -> None:
    with pytest.raises(UsageError, match="against must be one of golden, timm, transformers"):
        keras_vit.verify(NAME, against="keras_hub")


@pytest.mark.parity
def test_against_timm_itself() -> None:
    report = keras_vit.verify(NAME, against="timm")
    assert report.output < 2e-5
    assert "torch" in report.reference


@pytest.mark.parity
def test_cvt_against_transformers() -> None:
    """Which takes the file that we write, with its config.json."""
    report = keras_vit.verify("cvt_13_224", against="transformers")
    assert len(report.blocks) == 6
    assert max(*report.blocks.values(), report.output) < 2e-5


def test_a_model_has_one_reference() -> None:
    with pytest.raises(UsageError, match="is transformers, not timm"):
        keras_vit.verify("cvt_13_224", against="timm")


@pytest.mark.parity
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    model = keras_vit.load(NAME, weights=None, numerics="timm")
    path = keras_vit.save_weights(model, tmp_path / f"weights.{suffix}")
    report = keras_vit.verify(NAME, weights=path)
    assert report.weights == str(path)
    assert len(report.blocks) == 12
    assert report.output < 2e-5


@pytest.mark.parity
def test_weights_that_are_another_models(tmp_path: Path) -> None:
    small = keras_vit.load(NAME, weights=None, embed_dim=96)
    path = keras_vit.save_weights(small, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError):
        keras_vit.verify(NAME, weights=path)
