"""Licences that do not allow every use are marked wherever a model is chosen."""

import warnings

import pytest

import keras_vit
from keras_vit import catalogue
from keras_vit.errors import CheckpointError
from keras_vit.licences import COMMERCIAL

RESEARCH = "vit_base_patch16_224.mae"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("KERAS_VIT_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))


def test_every_licence_of_the_catalogue_is_known() -> None:
    found = {catalogue.info(name).licence for name in catalogue.list_models()}
    assert found <= set(COMMERCIAL)


def test_loading_says_what_a_licence_forbids(offline: None) -> None:
    with (
        pytest.warns(UserWarning, match=r"are cc-by-nc-4.0 \(non-commercial\): https://"),
        pytest.raises(CheckpointError, match="not in the cache"),
    ):
        keras_vit.load(RESEARCH)


@pytest.mark.parametrize(
    ("name", "weights"), [("vit_tiny_patch16_224", "pretrained"), (RESEARCH, "mine.safetensors")]
)
def test_loading_says_nothing_else(offline: None, name: str, weights: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError):
            keras_vit.load(name, weights=weights)


def test_list_marks_them(cli) -> None:
    (row,) = cli("list", RESEARCH).out.splitlines()[1:]
    assert row.endswith("cc-by-nc-4.0 (non-commercial)")
    assert [entry["commercial"] for entry in cli("list", RESEARCH, "--json").json] == [False]


def test_info_marks_them(cli) -> None:
    assert "dinov3-license (own terms)" in cli("info", "vit_small_patch16_dinov3").out
