"""Which rate and which weight decay each variable trains with, from where its layer stands.

Layer-wise learning-rate decay (BEiT, MAE) gives layers far from the head smaller rates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import keras

from keras_vit.layers import Bottleneck, ConvTransformerBlock, EvaBlock, TransformerBlock

_BLOCKS = (TransformerBlock, ConvTransformerBlock, EvaBlock, Bottleneck)


@dataclass(frozen=True)
class Group:
    """Variables that train alike.

    Attributes:
        scale: factor of the learning rate.
        decays: whether weight decay acts on them.
        start: step at which they thaw; 0 when they train from the start.
        paths: of the variables.
    """

    scale: float
    decays: bool
    start: int
    paths: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "paths": list(self.paths)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**{**data, "paths": tuple(data["paths"])})


def parameter_groups(
    model: keras.Model, layer_decay: float = 1.0, backbone_start: int = 0
) -> tuple[Group, ...]:
    """The groups of a model's trainable variables, as few as there are different ones.

    Args:
        model: any built Keras model.
        layer_decay: the rate of a layer is this to the power of its distance from the head; 1 gives all
            layers the same rate. Equals timm's `param_groups_layer_decay` for ViT, DeiT and BiT.
        backbone_start: step at which everything below the head thaws.
    """
    positions = layer_positions(model)
    last = max(positions.values(), default=0)
    found: dict[tuple[float, bool, int], list[str]] = {}
    for layer in flat_layers(model):
        position = positions[layer.name]
        scale = layer_decay ** (last - position)
        start = 0 if position == last else backbone_start
        for variable in layer.trainable_variables:
            found.setdefault((scale, decays(variable), start), []).append(variable.path)
    return tuple(Group(*key, tuple(dict.fromkeys(paths))) for key, paths in found.items())


def layer_positions(model: keras.Model) -> dict[str, int]:
    """How far each layer of a model is from its images, by the layer's name.

    Embeddings are at 0, block i at i + 1, what has pooled the last block's output is the head, at the
    highest position. The blocks are those of the kind that comes last: of a hybrid the Transformer's,
    and its ResNet is at 0, as timm has it. What stands between blocks, such as a CvT stage's embedding,
    belongs to the block after it; a norm over the last block's tokens or map to that block.

    Of a model without our blocks, every layer that has weights is a block of its own.
    """
    layers = list(flat_layers(model))
    blocks = [layer for layer in layers if isinstance(layer, _BLOCKS)]
    kind = type(blocks[-1]) if blocks else None
    count = sum(type(layer) is kind for layer in layers)
    if kind is None:
        weighted = [layer for layer in layers if layer.weights]
        return {
            layer.name: sum(w is not layer for w in weighted[: weighted.index(layer) + 1])
            if layer in weighted
            else 0
            for layer in layers
        }
    positions, passed = {}, 0
    for layer in layers:
        passed += type(layer) is kind
        if type(layer) is kind:
            positions[layer.name] = passed
        elif passed == count:
            positions[layer.name] = count + int(_pooled(layer))
        else:
            positions[layer.name] = passed + 1 if passed else 0
    return positions


def flat_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models in it, from the images on."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


def _pooled(layer: keras.layers.Layer) -> bool:
    """Whether a layer after the blocks belongs to the head: it classifies, or sees one vector an image."""
    return isinstance(layer, keras.layers.Dense) or len(layer.output.shape) == 2


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay acts on a variable: on kernels (also `depthwise_kernel`), nothing else."""
    return variable.path.endswith("kernel")
