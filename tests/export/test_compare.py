"""The arithmetic of the verification, on arrays."""

import math

import numpy as np
import pytest

from keras_vit.export.agreement import Bar
from keras_vit.export.verify import compare, compare_loosely

RNG = np.random.default_rng(3)
WANT = RNG.normal(size=(6, 10)).astype(np.float32)
SCALE = float(WANT.std())


def run(have: np.ndarray, want: np.ndarray = WANT) -> tuple:
    return compare({"logits": want}, {"logits": have}, {"logits": float(want.std())}, 1e-4)


def test_equal_outputs() -> None:
    result, problems = run(WANT)
    assert (result.max_difference, result.relative_difference, result.top1_agreement) == (0, 0, 1)
    assert problems == []


@pytest.mark.parametrize(("share", "passes"), [(0.9e-4, True), (1.1e-4, False)])
def test_tolerance_is_a_share_of_the_standard_deviation(share: float, passes: bool) -> None:
    have = WANT.astype(np.float64).copy()
    have[2, 3] += share * SCALE
    result, problems = run(have)
    assert result.relative_difference == pytest.approx(share, rel=1e-3)
    assert (not problems) == passes


def test_two_images_exchanged() -> None:
    _, problems = run(WANT[[1, 0, 2, 3, 4, 5]])
    assert "the top-1 of 2 of 6 images differs" in problems


def test_top1_may_differ_where_the_margin_is_within_the_tolerance() -> None:
    want = np.zeros((2, 3), np.float32)
    want[:, 0], want[0, 1], want[1, 1] = 1, 1 - 1e-5, -1
    have = want.copy()
    have[0, 1] = 1 + 1e-5
    result, problems = run(have, want)
    assert result.top1_agreement == 0.5
    assert problems == []


@pytest.mark.parametrize("have", [WANT[:, :9], WANT[:5]])
def test_other_shape(have: np.ndarray) -> None:
    result, problems = run(have)
    assert "logits should have shape (6, 10)" in problems[0]
    assert math.isinf(result.relative_difference)


def test_missing_output() -> None:
    _, problems = compare({"logits": WANT}, {"other": WANT}, {"logits": SCALE}, 1e-4)
    assert problems


def test_not_a_number_never_passes() -> None:
    have = WANT.copy()
    have[0, 0] = math.nan
    result, problems = run(have)
    assert problems and math.isinf(result.max_difference)


def test_constant_outputs_have_to_be_equal() -> None:
    want = np.zeros((3, 4), np.float32)
    assert run(want, want)[1] == []
    assert run(want + 1e-7, want)[1] != []


def test_features_have_no_top1() -> None:
    result, _ = compare({"features": WANT}, {"features": WANT}, {"features": SCALE}, 1e-4)
    assert result.top1_agreement is None


def test_lower_precision_is_compared_by_direction_and_class() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(64, 10))
    near = {"logits": logits + 0.01 * rng.normal(size=logits.shape)}
    found, problems = compare_loosely({"logits": logits}, near, Bar(0.999, 0.99, 0.9))
    assert not problems
    assert found.tolerance is None and 0.999 < found.cosine_mean < 1
    far = {"logits": logits[::-1]}
    _, problems = compare_loosely({"logits": logits}, far, Bar(0.999, 0.99, 0.9))
    assert len(problems) == 3
    _, problems = compare_loosely({"logits": logits}, {}, Bar(0.9, 0.9))
    assert problems == ["logits should have shape (64, 10) and has None"]
