"""One optimizer for parameter groups: clipping, gradient accumulation and averaging before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_vit.distributed.replicas import summed
from keras_vit.errors import UsageError
from keras_vit.training.fused_adam import fused
from keras_vit.training.groups import Group
from keras_vit.training.schedules import Scaled


@dataclass(frozen=True)
class _State:
    """Variables by their order in `build`. A dataclass, since Keras would adopt those in a list."""

    trained: list[keras.Variable]
    averages: list[keras.Variable]
    sums: list[keras.Variable]
    counter: keras.Variable | None


@keras.saving.register_keras_serializable("keras_vit")
class GroupedOptimizer(keras.optimizers.MultiOptimizer):
    """Any Keras optimizer, with a rate and a weight decay for each group of variables.

    A step is: gradients are summed over `accumulation` batches and their mean taken, clipped to the
    global norm over all groups, given to one copy of the optimizer a group, and the averages follow.

    Args:
        optimizer: what to copy; itself it is never used. Its own clipping, averaging, accumulation and
            loss scaling must be off: they would act group by group.
        groups: which variables train how; see `parameter_groups`.
        clip_norm: largest global norm of the gradients, or None.
        accumulation: batches a step.
        average: momentum of the exponential moving average of the weights, such as 0.9999; None for no
            average. The momentum rises as (1 + t) / (10 + t) at first, so that a short run's average
            does not hold its first weights. After `fit` the model has the averages;
            `AverageWeights` evaluates with them.
        loss_scale_factor: as in Keras. name: as in Keras.

    Attributes:
        learning_rate: of a group of scale 1, now. A number can be assigned where it was one.
        iterations: steps done; `accumulation` batches are one.

    Raises:
        UsageError: for an optimizer that clips, averages or accumulates by itself.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        groups: Sequence[Group],
        clip_norm: float | None = None,
        accumulation: int = 1,
        average: float | None = None,
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ) -> None:
        config = optimizer.get_config()
        _require_plain(config)
        kind = fused(optimizer)
        copies = [_copy(kind, config, group, i) for i, group in enumerate(groups)]
        by_path = {
            path: copy for group, copy in zip(groups, copies, strict=True) for path in group.paths
        }
        super().__init__(_Chooser(by_path), loss_scale_factor, name or "grouped_optimizer")
        self.template, self.groups = optimizer, tuple(groups)
        self.clip_norm, self.accumulation, self.average = clip_norm, accumulation, average
        self.state: _State | None = None

    def __dir__(self) -> list[str]:
        # Keras saves all that it finds here: the copies' variables once more, by the names of their classes,
        # which differ by backend. They are among this optimizer's own.
        return [name for name in super().__dir__() if "optimizers" not in name]

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        trained = list(var_list)
        averages = self.add_optimizer_variables(trained, "average") if self.average else []
        for variable, average in zip(trained if averages else (), averages, strict=True):
            average.assign(
                ops.copy(variable)
            )  # JAX would share the array, and then donate it twice
        sums, counter = [], None
        if self.accumulation > 1:
            sums = self.add_optimizer_variables(trained, "gradient_sum")
            counter = self.add_variable((), dtype="int32", name="batches_summed")
        self.state = _State(trained, averages, sums, counter)
        super().build(trained)

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        if not self.built:
            self.build(trainable_variables)
        if self.accumulation == 1:
            self._step(grads)
        elif keras.backend.backend() == "jax":
            # A branch under JAX must not assign: it computes, and what it gives is assigned here.
            assert self.state is not None
            values = self.stateless_apply(self.variables, grads, self.state.trained)
            for variable, value in zip(
                (*self.state.trained, *self.variables), (*values[0], *values[1]), strict=True
            ):
                variable.assign(value)
        else:
            ops.cond(self._complete(), lambda: self._summed_step(grads), lambda: self._add(grads))

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[Any],
    ) -> tuple[list[Any], list[Any]]:
        if self.accumulation == 1:
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        assert self.state is not None, "build the optimizer first"
        variables, trained = self.variables, self.state.trained
        given = [
            *zip(trained, trainable_variables, strict=True),
            *zip(variables, optimizer_variables, strict=True),
        ]
        mapping = [(variable, ops.convert_to_tensor(value)) for variable, value in given]

        def after(change: Callable[[Sequence[Any]], None]) -> tuple[list[Any], list[Any]]:
            with keras.StatelessScope(state_mapping=mapping) as scope:
                change(grads)
            return (
                [scope.get_current_value(variable) for variable in trained],
                [scope.get_current_value(variable) for variable in variables],
            )

        with keras.StatelessScope(state_mapping=mapping):
            complete = self._complete()
        return ops.cond(complete, lambda: after(self._summed_step), lambda: after(self._add))

    def _complete(self) -> Any:
        """Whether this batch completes a step."""
        assert self.state is not None and self.state.counter is not None
        return ops.equal(self.state.counter, self.accumulation - 1)

    def _add(self, grads: Sequence[Any]) -> None:
        assert self.state is not None and self.state.counter is not None
        for total, grad in zip(self.state.sums, grads, strict=True):
            if grad is not None:
                total.assign_add(ops.cast(grad, total.dtype))
        self.state.counter.assign_add(1)

    def _summed_step(self, grads: Sequence[Any]) -> None:
        assert self.state is not None and self.state.counter is not None
        means = [
            None if grad is None else (total + ops.cast(grad, total.dtype)) / self.accumulation
            for total, grad in zip(self.state.sums, grads, strict=True)
        ]
        self._step(means)
        for total in self.state.sums:
            total.assign(ops.zeros(total.shape, total.dtype))
        self.state.counter.assign(0)

    def _step(self, grads: Sequence[Any]) -> None:
        assert self.state is not None
        if self.clip_norm is not None:
            # Over replicas the optimizers sum once more.
            total, replicas = summed(grads)
            norm = self.clip_norm * (self.loss_scale_factor or 1.0)
            grads = clipped(total, norm, 1.0 / replicas)
        steps_before = ops.cast(self.iterations, "float32")
        super().apply(grads, self.state.trained)
        if self.average is None:
            return
        momentum = ops.minimum(self.average, (1.0 + steps_before) / (10.0 + steps_before))
        for variable, average in zip(self.state.trained, self.state.averages, strict=True):
            share = ops.cast(1.0 - momentum, average.dtype)
            average.assign_add(share * (ops.convert_to_tensor(variable) - average))

    def exchange_averages(self) -> None:
        """Puts the averages into the model and the model's weights where they were, or back again.

        Exact: exchanged twice, all is bit for bit as it was.

        Raises:
            UsageError: without averages.
        """
        if self.state is None or not self.state.averages:
            raise UsageError("this optimizer keeps no average of the weights")
        for variable, average in zip(self.state.trained, self.state.averages, strict=True):
            kept = ops.copy(variable)
            variable.assign(average)
            average.assign(kept)

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        super().finalize_variable_values(var_list)
        if self.state is not None:
            for variable, average in zip(
                self.state.trained if self.state.averages else (), self.state.averages, strict=True
            ):
                variable.assign(ops.copy(average))

    @property
    def learning_rate(self) -> Any:
        rate = self.template.get_config()["learning_rate"]
        if isinstance(rate, dict):
            return keras.optimizers.schedules.deserialize(rate)(self.iterations)
        return rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.template.learning_rate = value
        for group, copy in zip(self.groups, self.optimizers, strict=True):
            copy.learning_rate = value * group.scale

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.optimizers.serialize(self.template),
            "groups": [group.to_dict() for group in self.groups],
            "clip_norm": self.clip_norm,
            "accumulation": self.accumulation,
            "average": self.average,
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "GroupedOptimizer":
        optimizer = keras.optimizers.deserialize(config["optimizer"], custom_objects)
        groups = [Group.from_dict(group) for group in config["groups"]]
        return cls(**{**config, "optimizer": optimizer, "groups": groups})


class _Chooser:
    """From a variable to its group's optimizer."""

    def __init__(self, by_path: dict[str, keras.optimizers.Optimizer]) -> None:
        self.by_path = by_path

    def __call__(self, variable: keras.Variable) -> keras.optimizers.Optimizer:
        if variable.path not in self.by_path:
            raise UsageError(
                f"the optimizer was made without {variable.path}: make it again after "
                "freezing or thawing layers"
            )
        return self.by_path[variable.path]


def clipped(grads: Sequence[Any], norm: float, share: float = 1.0) -> list[Any]:
    """Gradients, None among them, scaled so that the norm of all together is at most `norm`.

    Args:
        share: what they are multiplied by after that.
    """
    norms = [ops.norm(ops.ravel(ops.cast(g, "float32"))) for g in grads if g is not None]
    factor = share * norm / ops.maximum(ops.norm(ops.stack(norms)), norm)
    return [None if g is None else g * ops.cast(factor, g.dtype) for g in grads]


def _copy(
    kind: type[keras.optimizers.Optimizer], config: dict[str, Any], group: Group, index: int
) -> keras.optimizers.Optimizer:
    """The group's own optimizer."""
    rate = config["learning_rate"]
    if isinstance(rate, dict):
        rate = keras.optimizers.schedules.deserialize(rate)
    scheduled = callable(rate) or group.start
    rate = Scaled(rate, group.scale, group.start) if scheduled else rate * group.scale
    changes = {"learning_rate": rate, "name": f"{config['name']}_{index}"}
    # A decay of 0 would read and write every variable once more; but AdamW takes no None.
    none = 0.0 if issubclass(kind, keras.optimizers.AdamW) else None
    decay = (group.decays and config["weight_decay"]) or none
    return kind.from_config({**config, **changes, "weight_decay": decay})


def _require_plain(config: dict[str, Any]) -> None:
    """Refuses an optimizer that would clip or average each group by itself."""
    ours = {
        "global_clipnorm": "clip_norm",
        "gradient_accumulation_steps": "accumulation",
        "use_ema": "average",
        "loss_scale_factor": "loss_scale_factor",
    }
    for theirs, argument in ours.items():
        if config.get(theirs):
            raise UsageError(f"give {argument} to GroupedOptimizer, not {theirs} to its optimizer")
