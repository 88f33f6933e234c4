"""`explain` and the model cards of `info`, as commands."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BIT = ["--weights", "none", "--image-size", "32", "--num-classes", "3"]
BIT += ["--set", "layers=[1]", "--set", "channels=[128]"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return path


def test_explain_writes_figures_and_a_page(cli, tiny, photo, tmp_path):
    asked = ["--what", "rollout,attention,position", "--block", "0", "--head", "1"]
    result = cli("explain", tiny[0], photo, "-o", "out", *asked, *tiny[1:], cwd=tmp_path)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("out/rollout.png, out/rollout.svg: Attention rollout from the class")
    assert lines[-1] == "out/report.html"
    names = {
        f"{what}.{end}" for what in ("rollout", "attention", "position") for end in ("png", "svg")
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, "report.html"}


@pytest.mark.slow
def test_explain_says_what_it_leaves_out(cli, photo, tmp_path):
    asked = ["-o", "out", "--what", "rollout,filters", "--json"]
    result = cli("explain", "resnetv2_50x1_bit", photo, *asked, *BIT, cwd=tmp_path)
    assert set(result.json["left_out"]) == {"rollout"}
    assert [figure["what"] for figure in result.json["figures"]] == ["filters"]
    assert result.err.startswith("left out: rollout: resnetv2_50x1_bit has no attention")


MISUSES = {
    "unknown figure": (["--what", "rollouts"], "no figure rollouts: rollout, gradient-rollout"),
    "not a patch": (["--patch", "3"], "'3' is not a patch such as 7,3"),
    "a figure of one with two": (["--what", "pca", "--compare", "ViT-B/16"], "similarity"),
    "unknown model to compare": (["--compare", "vit_bas"], "unknown model 'vit_bas'"),
    "existing folder": (["-o", "full"], "full exists; pass --force to replace its figures"),
    "no image": (["-o", "out"], "photo.png: no such file or folder"),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_is_told_before_keras_is_imported(cli, tmp_path, without_keras, misuse):
    args, expected = MISUSES[misuse]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    command = ["explain", "vit_tiny_patch16_224", "photo.png", "-o", "out", *args]
    result = cli(*command, cwd=tmp_path, env=without_keras)
    assert (result.code, result.out) == (2, "")
    assert expected in result.error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_explain_alone_what_makes_no_sense(cli, photo, tmp_path):
    what = ["-o", "out", "--what", "rollout"]
    result = cli("explain", "resnetv2_50x1_bit", photo, *what, *BIT, cwd=tmp_path)
    assert result.code == 2
    assert "has no attention: grad_cam shows what a ResNet looks at" in result.error
    assert not (tmp_path / "out").exists()


def test_cards_are_misused_before_keras_is_imported(cli, tmp_path, without_keras):
    (tmp_path / "card.md").touch()
    cases = {
        ("--output", "x.html"): "--output is of --html and --markdown",
        ("--html", "--json"): "--json and --html: choose one",
        ("--html", "-o", "card.md"): "has to end in .html",
        ("--markdown", "-o", "card.md"): "card.md exists; pass --force",
    }
    for args, expected in cases.items():
        result = cli("info", "ViT-B/16", *args, cwd=tmp_path, env=without_keras)
        assert result.code == 2
        assert expected in result.error


@pytest.mark.slow
def test_info_writes_a_card(cli, tmp_path):
    result = cli("info", "DeiT-Ti", "--html", "-o", "card.html", cwd=tmp_path)
    assert (result.code, result.out) == (0, ""), result.err
    assert "<svg" in (tmp_path / "card.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["card.html"]
