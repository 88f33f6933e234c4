"""Learning rates over the steps of a run."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vit.errors import UsageError

DECAYS = ("constant", "linear", "cosine", "steps")


@keras.saving.register_keras_serializable("keras_vit")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A line up, then a decay: the schedules of big_vision, vision_transformer, BiT, DeiT and timm.

    Args:
        learning_rate: the highest rate.
        steps: of the whole run, the warm-up included.
        warmup_steps: steps of the line from `warmup_start` to `learning_rate`; 0 for none.
        decay: `"constant"`, `"linear"`, `"cosine"`, or `"steps"`: times `factor` at each of `milestones`.
        end: what the linear and the cosine decay end at, and stay at after the run.
        warmup_start: the rate of step 0.
        from_start: whether the decay counts its steps from the run's first one, as timm does unless
            `warmup_prefix=True` (the rate then falls a little where the warm-up ends), and not from the
            warm-up's last, as big_vision and vision_transformer do.
        milestones: shares of the run, 0 to 1, for `"steps"`.
        factor: for `"steps"`; BiT's is 0.1.

    Sources: big_vision/utils.py `create_learning_rate_schedule`; timm/scheduler/cosine_lr.py; bit
    bit_hyperrule.py `get_lr`, whose steps are the milestones here.

    Raises:
        UsageError: unless `0 <= warmup_steps < steps`, or for an unknown decay.
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int,
        warmup_steps: int = 0,
        decay: str = "cosine",
        end: float = 0.0,
        warmup_start: float = 0.0,
        from_start: bool = False,
        milestones: Sequence[float] = (),
        factor: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= warmup_steps < steps:
            raise UsageError(f"{warmup_steps} warm-up steps do not fit into a run of {steps} steps")
        if decay not in DECAYS:
            raise UsageError(f"decay must be one of {', '.join(DECAYS)}; got {decay!r}")
        self.learning_rate, self.steps, self.warmup_steps = learning_rate, steps, warmup_steps
        self.decay, self.end, self.warmup_start = decay, end, warmup_start
        self.from_start, self.milestones, self.factor = from_start, tuple(milestones), factor

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rate = self._decayed(step)
        if not self.warmup_steps:
            return rate
        slope = (self.learning_rate - self.warmup_start) / self.warmup_steps
        return ops.where(step < self.warmup_steps, self.warmup_start + step * slope, rate)

    def _decayed(self, step: Any) -> Any:
        if self.decay == "constant":
            return ops.full_like(step, self.learning_rate)
        if self.decay == "steps":
            passed = [ops.cast(step >= share * self.steps, "float32") for share in self.milestones]
            return self.learning_rate * self.factor ** sum(passed, ops.zeros_like(step))
        first = 0 if self.from_start else self.warmup_steps
        done = ops.clip((step - first) / (self.steps - first), 0.0, 1.0)
        left = 1.0 - done if self.decay == "linear" else (1.0 + ops.cos(math.pi * done)) / 2.0
        return self.end + (self.learning_rate - self.end) * left

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "end": self.end,
            "warmup_start": self.warmup_start,
            "from_start": self.from_start,
            "milestones": list(self.milestones),
            "factor": self.factor,
        }


@keras.saving.register_keras_serializable("keras_vit")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A share of another schedule, and nothing before `start`: the rate of a parameter group.

    Args:
        schedule: a schedule, or a number.
        scale: factor of its rates.
        start: step at which the group thaws; its rate is 0 before.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule | float,
        scale: float = 1.0,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.schedule, self.scale, self.start = schedule, scale, start

    def __call__(self, step: Any) -> Any:
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        rate = ops.cast(rate, "float32") * self.scale
        return ops.where(step < self.start, 0.0, rate) if self.start else rate

    def get_config(self) -> dict[str, Any]:
        schedule = self.schedule
        if callable(schedule):
            schedule = keras.optimizers.schedules.serialize(schedule)
        return {"schedule": schedule, "scale": self.scale, "start": self.start}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Scaled":
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = keras.optimizers.schedules.deserialize(schedule)
        return cls(**{**config, "schedule": schedule})


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
    return WarmupDecay(learning_rate, steps, warmup_steps)
