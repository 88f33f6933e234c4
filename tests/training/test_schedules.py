"""Warm-up and cosine, number by number."""

import keras
import numpy as np
import pytest

from keras_vit.errors import UsageError
from keras_vit.training import warmup_cosine


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
