"""The averaged weights (EMA) of a `GroupedOptimizer`: evaluated with, and saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from keras_vit.training.grouped_optimizer import GroupedOptimizer


class AverageWeights(keras.callbacks.Callback):
    """Evaluates with the averaged weights, in `fit` and in `evaluate`.

    Training goes on with the weights themselves, bit for bit. When `fit` ends the model has the
    averages (`GroupedOptimizer.finalize_variable_values`).
    """

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        averaging_optimizer(self.model).exchange_averages()

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        averaging_optimizer(self.model).exchange_averages()


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within it, a compiled model has its averaged weights, such as to save them in mid-run.

    Without averages it changes nothing.
    """
    optimizer = averaging_optimizer(model)
    if optimizer.average is None:
        yield
        return
    optimizer.exchange_averages()
    try:
        yield
    finally:
        optimizer.exchange_averages()


def averaging_optimizer(model: Any) -> GroupedOptimizer:
    """The `GroupedOptimizer` that a model is compiled with, perhaps within a `LossScaleOptimizer`."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)
