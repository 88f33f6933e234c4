"""AdamW as Vision Transformers are trained with it: only kernels decay."""

import keras


def adamw(
    model: keras.Model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    clip_norm: float | None = 1.0,
) -> keras.optimizers.Optimizer:
    """An AdamW optimizer for `model`, with its variables made.

    Args:
        model: a built model; its layers may compute in float16, which adds loss scaling.
        learning_rate: a number or a schedule.
        weight_decay: as in torch and Keras, times the learning rate at every step. Biases, norms,
            layer scales, tokens and position embeddings do not decay (big_vision's rule).
        clip_norm: largest global norm of the gradients, or None.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm
    )
    undecayed = [v for v in model.trainable_variables if not decays(v)]
    if undecayed:
        optimizer.exclude_from_weight_decay(var_list=undecayed)
    if any(layer.compute_dtype == "float16" for layer in model.layers):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Before the first step: where a traced step makes the variables, TensorFlow traces it twice.
    optimizer.build(model.trainable_variables)
    return optimizer


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay acts on a variable: on kernels (also `depthwise_kernel`), nothing else."""
    return variable.path.endswith("kernel")
