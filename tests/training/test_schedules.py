"""Warm-up and cosine, number by number."""

import keras
import numpy as np
import pytest

from keras_vit.errors import UsageError
from keras_vit.training import WarmupDecay, warmup_cosine
from keras_vit.training.schedules import Scaled


def _reference(step: int, base: float, total: int, warmup: int) -> float:
    """big_vision's create_learning_rate_schedule(decay_type="cosine"), in float64."""
    progress = np.clip((step - warmup) / float(total - warmup), 0, 1)
    rate = base * 0.5 * (1 + np.cos(np.pi * progress))
    return rate * min(1.0, step / warmup) if warmup else rate


@pytest.mark.parametrize("warmup", [0, 1, 7, 99])
def test_equals_big_visions(warmup):
    schedule = warmup_cosine(3e-3, 100, warmup)
    rates = [float(schedule(step)) for step in range(105)]
    expected = [_reference(step, 3e-3, 100, warmup) for step in range(105)]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=3e-9)


def test_survives_saving():
    schedule = warmup_cosine(3e-3, 100, 10)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert float(again(37)) == float(schedule(37))


@pytest.mark.parametrize(("steps", "warmup"), [(10, 10), (0, 0), (10, -1)])
def test_a_warmup_that_does_not_fit_is_misuse(steps, warmup):
    with pytest.raises(UsageError, match="do not fit"):
        warmup_cosine(1e-3, steps, warmup)


def test_linear_equals_big_visions():
    """decay_type="linear" with linear_end; but there the warm-up multiplies, and here it is a line."""
    schedule = WarmupDecay(3e-3, 100, 10, "linear", end=1e-5)
    progress = np.clip((np.arange(10, 105) - 10) / 90, 0, 1)
    expected = 1e-5 + (3e-3 - 1e-5) * (1 - progress)
    np.testing.assert_allclose([float(schedule(t)) for t in range(10, 105)], expected, atol=1e-9)
    rising = [float(schedule(t)) for t in range(10)]
    np.testing.assert_allclose(rising, 3e-4 * np.arange(10), atol=1e-9)


def test_steps_are_bit_hyperrules():
    """bit_hyperrule.py get_lr with its supports 500, 3000, 6000, 9000, 10000."""
    schedule = WarmupDecay(0.003, 10_000, 500, "steps", milestones=(0.3, 0.6, 0.9))
    expected = {0: 0, 250: 0.0015, 500: 3e-3, 2999: 3e-3, 3000: 3e-4, 6000: 3e-5, 9000: 3e-6}
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5), step


@pytest.mark.parametrize("base", [0.5, WarmupDecay(0.5, 100, 10)])
def test_a_groups_rate_is_a_share_after_it_thaws(base):
    schedule = Scaled(base, 0.1, start=20)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    whole = float(base(40)) if callable(base) else base
    for made in (schedule, again):
        assert float(made(19)) == 0
        assert float(made(40)) == pytest.approx(0.1 * whole)


def test_an_unknown_decay_is_misuse():
    with pytest.raises(UsageError, match="decay must be one of"):
        WarmupDecay(1.0, 10, decay="cosin")
