"""`keras-vit verify`."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

from keras_vit.cli.verify import command
from keras_vit.errors import KerasVitError
from keras_vit.verifying import Conformance

NAME = "vit_tiny_patch16_224"
REPORT = Conformance(
    "vit_x.y", "jax", "float32", "timm 1", None, {"blocks_0": 1e-6, "blocks_1": 3e-6}, 2e-6, 1e-4
)


def answer(monkeypatch: pytest.MonkeyPatch, report: Conformance) -> dict:
    seen: dict = {}

    def verify(name: str, **arguments: object) -> Conformance:
        seen.update(name=name, **arguments)
        return report

    monkeypatch.setattr("keras_vit.verifying.verify", verify)
    return seen


def test_it_shows_every_block_and_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answer(monkeypatch, REPORT)
    result = CliRunner().invoke(command, [NAME, "--dtype", "float32", "--against", "golden"])
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()[1:4]] == [
        ["blocks_0", "1.0e-06"],
        ["blocks_1", "3.0e-06"],
        ["output", "2.0e-06"],
    ]
    assert "verdict  passed" in result.output
    assert seen == {
        "name": NAME,
        "weights": None,
        "against": "golden",
        "dtype": "float32",
    }


def test_a_difference_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, dataclasses.replace(REPORT, output=0.5))
    result = CliRunner().invoke(command, [NAME])
    assert "FAILED" in result.output
    assert isinstance(result.exception, KerasVitError)
    assert "is 5.0e-01 of the output's standard deviation from timm 1" in str(result.exception)


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, REPORT)
    result = CliRunner().invoke(command, [NAME, "--json"])
    assert json.loads(result.output) == REPORT.to_dict()


def test_an_unknown_name(cli) -> None:
    assert cli("verify", "vit_nothing").code == 2
