"""Optimizers for a model: parameter groups, and loss scaling where layers compute in float16."""

import keras

from keras_vit.training.grouped_optimizer import GroupedOptimizer
from keras_vit.training.groups import parameter_groups


def grouped(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    layer_decay: float = 1.0,
    clip_norm: float | None = None,
    accumulation: int = 1,
    average: float | None = None,
    backbone_start: int = 0,
) -> keras.optimizers.Optimizer:
    """`optimizer` for the parameter groups of `model`, with its variables made.

    Args:
        model: a built model. Freeze layers before, not after.
        optimizer: any Keras optimizer, such as `keras.optimizers.SGD(0.01, momentum=0.9)`.
        layer_decay: of the learning rate, layer by layer away from the head; see `parameter_groups`.
        clip_norm: largest norm of all gradients together, or None.
        accumulation: batches a step.
        average: momentum of the moving average of the weights, or None.
        backbone_start: step at which everything below the head thaws; its rate is 0 before.

    Returns:
        A `GroupedOptimizer`; in a `keras.optimizers.LossScaleOptimizer` where layers of the model compute
        in float16.

    Raises:
        UsageError: for a model without trainable variables, or an optimizer that clips by itself.
    """
    groups = parameter_groups(model, layer_decay, backbone_start)
    whole: keras.optimizers.Optimizer = GroupedOptimizer(
        optimizer, groups, clip_norm, accumulation, average
    )
    if any(layer.compute_dtype == "float16" for layer in model.layers):
        whole = keras.optimizers.LossScaleOptimizer(whole)
    # Before the first step: where a traced step makes the variables, TensorFlow traces it twice.
    whole.build(model.trainable_variables)
    return whole


def adamw(
    model: keras.Model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    clip_norm: float | None = 1.0,
) -> keras.optimizers.Optimizer:
    """AdamW as Vision Transformers are trained with it: only kernels decay.

    Args:
        model: a built model; its layers may compute in float16, which adds loss scaling.
        learning_rate: a number or a schedule.
        weight_decay: as in torch and Keras, times the learning rate at every step. Biases, norms,
            layer scales, tokens and position embeddings do not decay (big_vision's rule).
        clip_norm: largest global norm of the gradients, or None.
    """
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    return grouped(model, optimizer, clip_norm=clip_norm)
