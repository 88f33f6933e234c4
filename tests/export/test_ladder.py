from pathlib import Path

import numpy as np
import pytest

from keras_vit.errors import ExportError
from keras_vit.export.agreement import Bar
from keras_vit.export.ladder import Rung, Samples, climb

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 10))
NOISE = RNG.normal(size=LOGITS.shape)
RUNGS = [
    Rung("", ()),
    Rung("attention", ("a",)),
    Rung("nothing more", ("a",)),
    Rung("sums", ("a", "b")),
]


def samples(target: float | None) -> Samples:
    return Samples(np.zeros(1), np.zeros(200), {"logits": LOGITS}, Bar(0.9, 0.5, target))


def answers(*errors: float):  # type: ignore[no-untyped-def]
    """A model in int8 whose error falls from rung to rung, and the rungs that were asked for."""
    asked: list[str] = []

    def answer(rung: Rung) -> dict[str, np.ndarray]:
        asked.append(rung.group)
        return {"logits": LOGITS + errors[len(asked) - 1] * NOISE}

    return answer, asked


def test_no_more_is_left_in_float32_than_is_needed() -> None:
    answer, asked = answers(0.5, 0.003, 0)
    found = climb(RUNGS, answer, samples(0.985))
    assert asked == ["", "attention"]
    assert found.groups == ("attention",) and found.chosen == 1
    assert "left in float32 were attention; with everything in int8" in found.note


def test_all_in_int8_where_that_is_good_enough() -> None:
    answer, asked = answers(0.001)
    found = climb(RUNGS, answer, samples(0.985))
    assert asked == [""] and not found.groups
    assert "nothing was left in float32" in found.note


def test_rungs_that_add_nothing_are_passed_over() -> None:
    answer, asked = answers(0.5, 0.5, 0.001)
    climb(RUNGS, answer, samples(0.985))
    assert asked == ["", "attention", "sums"]


def test_best_of_those_that_pass() -> None:
    """None has the cosine at which the search stops; the bar is lower."""
    answer, _ = answers(0.3, 0.2, 0.25)
    found = climb(RUNGS, answer, samples(0.5))
    assert found.chosen == 1


def test_nothing_passes() -> None:
    answer, _ = answers(0.9, 0.5, 0.7)
    with pytest.raises(
        ExportError, match=r"at best, with attention left in float32, and an agreement"
    ):
        climb(RUNGS, answer, samples(0.985))


def test_samples_there_and_back(tmp_path: Path) -> None:
    for target in (0.985, None):
        samples(target).save(tmp_path / "s.npz")
        back = Samples.load(tmp_path / "s.npz")
        assert back.bar == Bar(0.9, 0.5, target)
        np.testing.assert_array_equal(back.expected["logits"], LOGITS)
        assert back.held_out.shape == (200,) and back.calibrating.shape == (1,)
