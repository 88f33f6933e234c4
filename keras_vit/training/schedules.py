"""Learning rates over the steps of a run."""

import keras

from keras_vit.errors import UsageError


def warmup_cosine(
    learning_rate: float, steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 up to `learning_rate` in a line, then down to 0 along half a cosine.

    As big_vision and vision_transformer have it (`create_learning_rate_schedule`): the rate of step
    `t` is `learning_rate * t / warmup_steps` first, and with `p` the share of the remaining steps
    that is done, `learning_rate * (1 + cos(pi * p)) / 2` after.

    Args:
        learning_rate: the highest rate.
        steps: of the whole run, the warm-up included.
        warmup_steps: 0 for none.

    Raises:
        UsageError: unless `0 <= warmup_steps < steps`.
    """
    if not 0 <= warmup_steps < steps:
        raise UsageError(f"{warmup_steps} warm-up steps do not fit into a run of {steps} steps")
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup_steps, warmup_target=learning_rate, warmup_steps=warmup_steps
    )
