"""`keras-vit verify`."""

import dataclasses

import pytest

from keras_vit import verifying
from keras_vit.verifying import Conformance

REPORT = Conformance(
    "vit_x.y", "jax", "float32", "timm 1", None, {"blocks_0": 1e-6, "blocks_1": 3e-6}, 2e-6, 1e-4
)


def answer(monkeypatch: pytest.MonkeyPatch, report: Conformance) -> dict:
    seen: dict = {}

    def verify(name: str, **arguments: object) -> Conformance:
        seen.update(name=name, **arguments)
        return report

    monkeypatch.setattr(verifying, "verify", verify)
    return seen


def test_it_shows_every_block_and_the_verdict(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answer(monkeypatch, REPORT)
    result = cli("verify", "vit_x", "--dtype", "float32", "--against", "golden")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()[1:4]] == [
        ["blocks_0", "1.0e-06"],
        ["blocks_1", "3.0e-06"],
        ["output", "2.0e-06"],
    ]
    assert "verdict  passed" in result.out
    assert seen == {"name": "vit_x", "weights": None, "against": "golden", "dtype": "float32"}


def test_a_difference_fails(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, dataclasses.replace(REPORT, output=0.5))
    result = cli("verify", "vit_x")
    assert result.code == 1
    assert "FAILED" in result.out
    assert "is 5.0e-01 of the output's standard deviation from timm 1" in result.err


def test_json(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, REPORT)
    assert cli("verify", "vit_x", "--json").json == REPORT.to_dict()


def test_an_unknown_name(cli) -> None:
    assert cli("verify", "vit_nothing").code == 2
