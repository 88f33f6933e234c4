"""What of a model trains: all, the head alone, or low-rank updates beside frozen kernels (LoRA)."""

from collections.abc import Iterator

import keras

from keras_vit.errors import UsageError
from keras_vit.training.groups import flat_layers, layer_positions


def head_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The classifiers: the Dense layers of the highest position without an activation."""
    positions = layer_positions(model)
    last = max(positions.values())
    found = [
        layer
        for layer in flat_layers(model)
        if positions[layer.name] == last
        and isinstance(layer, keras.layers.Dense)
        and layer.activation is keras.activations.linear
    ]
    if not found:
        raise UsageError(f"{model.name} has no classifier to train: load it with num_classes=...")
    return found


def train_head_only(model: keras.Model) -> None:
    """Freezes every layer but the classifiers."""
    heads = [layer.name for layer in head_layers(model)]
    for layer in flat_layers(model):
        layer.trainable = layer.name in heads


def freeze_blocks(model: keras.Model, count: int) -> None:
    """Freezes the embeddings and the first `count` blocks.

    Raises:
        UsageError: if the model has fewer blocks.
    """
    positions = layer_positions(model)
    blocks = max(positions.values()) - 1
    if not 0 <= count <= blocks:
        raise UsageError(f"freeze_blocks is 0 to {blocks} for {model.name}; got {count}")
    for layer in flat_layers(model):
        if positions[layer.name] <= count:
            layer.trainable = False


def add_lora(model: keras.Model, rank: int) -> None:
    """Gives the Dense layers below the head low-rank updates; they and the head train, no more.

    It is Keras' own `Dense.enable_lora` (arXiv:2106.09685); saving merges the updates into the kernels.

    Args:
        model: a built model, not quantised.
        rank: of the updates.
    """
    heads = {layer.name for layer in head_layers(model)}
    for layer in flat_layers(model):
        if layer.name in heads:
            continue
        for variable in layer.trainable_variables:
            variable.trainable = False
        for dense in _dense_layers(layer):
            if not dense.lora_enabled:
                dense.enable_lora(rank)


def _dense_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Dense]:
    """The Dense layers of one of our composite layers, or the layer itself."""
    if isinstance(layer, keras.layers.Dense):
        yield layer
    for part in getattr(layer, "parts", ()):
        yield from _dense_layers(part)
