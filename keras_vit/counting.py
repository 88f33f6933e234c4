"""Parameters and multiply-adds of a built model.

A multiply-add (MAC) is counted for each weight of a convolution or dense layer at each output position, and
for each product of attention: queries with keys, and weights with values. Biases, norms, activations,
softmax, pooling and position embeddings are not counted. So does torch.utils.flop_counter, in FLOPs of two a
MAC. Tools that do not see into fused attention report less: 16.9 G for ViT-B/16 instead of 17.6 G.
"""

import functools
import math

import keras

from keras_vit.errors import UsageError
from keras_vit.layers import (
    Attention,
    AttentionPool,
    Bottleneck,
    ConvEmbedding,
    ConvTransformerBlock,
    EvaBlock,
    ResNetStem,
    RotaryAttention,
    RotaryEmbedding,
    TokenEmbedding,
    TransformerBlock,
)
from keras_vit.layers.grids import grid_and_prefix

# Variables that BatchNormalization keeps, and that PyTorch calls buffers and not parameters.
_STATISTICS = ("moving_mean", "moving_variance")


def count_parameters(model: keras.Model) -> int:
    """Number of weights, frozen ones too, without the moving statistics of batch norms."""
    return layer_parameters(model)


def layer_parameters(layer: keras.layers.Layer) -> int:
    """The same of one layer."""
    weights = [weight for weight in layer.weights if weight.name not in _STATISTICS]
    return sum(math.prod(weight.shape) for weight in weights)


def layer_macs(layer: keras.layers.Layer) -> int:
    """Multiply-adds of one image through one layer of a Functional model; see `count_macs`."""
    return _macs(layer)


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of one image through a Functional model that calls each of its layers once.

    Raises:
        UsageError: if the model takes images of any size, or has a layer with weights that there is no
            rule for.
    """
    return sum(_macs(layer) for layer in model.layers)


def known_counts(model: keras.Model) -> tuple[int, int | None]:
    """(parameters, multiply-adds of one image), where these are None if `count_macs` cannot count them."""
    parameters = count_parameters(model)
    try:
        return parameters, None if _calls_a_layer_twice(model) else count_macs(model)
    # Keras' own errors are of layers that were never called, or that cannot be written down.
    except (UsageError, AttributeError, NotImplementedError, ValueError):
        return parameters, None


def _calls_a_layer_twice(model: keras.Model) -> bool:
    """Whether there is a layer with weights that stands in several places."""
    layers = model.get_config().get("layers", ())
    several = [layer["name"] for layer in layers if len(layer.get("inbound_nodes", ())) > 1]
    return any(model.get_layer(name).weights for name in several)


@functools.singledispatch
def _macs(layer: keras.layers.Layer) -> int:
    """Each kernel once an output position: right for any layer that keeps its grid or sequence inside."""
    if any(len(weight.shape) > 1 and weight.name != "kernel" for weight in layer.weights):
        raise UsageError(f"count_macs has no rule for {type(layer).__name__} ({layer.path})")
    kernels = _kernels(layer)
    return _positions(layer) * kernels if kernels else 0


@_macs.register(keras.Model)
def _macs_of_model(layer: keras.Model) -> int:
    return count_macs(layer)


@_macs.register(TokenEmbedding)
@_macs.register(RotaryEmbedding)
def _macs_of_positions(layer: TokenEmbedding | RotaryEmbedding) -> int:
    """Tokens and position embeddings are only added, and angles made once for all images."""
    return 0


@_macs.register(Attention)
@_macs.register(TransformerBlock)
@_macs.register(RotaryAttention)
@_macs.register(EvaBlock)
def _macs_of_attention(layer: keras.layers.Layer) -> int:
    dense = _macs.dispatch(keras.layers.Layer)(layer)
    return dense + 2 * _positions(layer) ** 2 * layer.output.shape[-1]


@_macs.register(AttentionPool)
def _macs_of_attention_pool(layer: AttentionPool) -> int:
    """Keys and values of every token, all else of the one query."""
    tokens = _pixels(layer, layer.input.shape) - layer.num_prefix_tokens
    width = layer.output.shape[-1]
    return _kernels(layer.q, layer.proj, layer.mlp) + tokens * (_kernels(layer.kv) + 2 * width)


@_macs.register(ResNetStem)
def _macs_of_stem(layer: ResNetStem) -> int:
    """The convolution gives more pixels than the pooling leaves."""
    pixels = _pixels(layer, layer.conv.compute_output_shape(layer.input.shape))
    return pixels * _kernels(layer.conv)


@_macs.register(Bottleneck)
def _macs_of_bottleneck(layer: Bottleneck) -> int:
    """The first convolution works at the input's size, the others give the output's."""
    first = _kernels(layer.conv1)
    inside = _pixels(layer, layer.input.shape)
    return inside * first + _positions(layer) * (_kernels(layer) - first)


@_macs.register(ConvEmbedding)
def _macs_of_conv_embedding(layer: ConvEmbedding) -> int:
    """The convolution; a class token and positions are only added."""
    grid, _ = grid_and_prefix(layer.output)
    return _pixels(layer, grid.shape) * _kernels(layer)


@_macs.register(ConvTransformerBlock)
def _macs_of_conv_block(layer: ConvTransformerBlock) -> int:
    """Keys and values may be fewer than queries; a class token skips the convolutions."""
    grid, prefix = grid_and_prefix(layer.input)
    attn = layer.attn
    pixels = _pixels(layer, grid.shape)
    key_pixels = _pixels(layer, attn.conv_proj_k.compute_output_shape(grid.shape))
    queries, keys = pixels + len(prefix), key_pixels + len(prefix)
    return (
        pixels * _kernels(attn.conv_proj_q)
        + key_pixels * _kernels(attn.conv_proj_k, attn.conv_proj_v)
        + queries * _kernels(attn.proj_q, attn.proj, layer.mlp)
        + keys * _kernels(attn.proj_k, attn.proj_v)
        + 2 * queries * keys * grid.shape[-1]
    )


def _kernels(*layers: keras.layers.Layer) -> int:
    """Number of weights of the layers' kernels."""
    weights = [weight for layer in layers for weight in layer.weights if weight.name == "kernel"]
    return sum(math.prod(weight.shape) for weight in weights)


def _positions(layer: keras.layers.Layer) -> int:
    """Pixels or tokens of the layer's output."""
    return _pixels(layer, layer.output.shape)


def _pixels(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    """Pixels or tokens of a map or sequence of this shape, which the layer takes or gives."""
    sides = [side for side in shape[1:-1] if side is not None]
    if len(sides) < len(shape) - 2:
        raise UsageError(
            f"count_macs needs a model of one image size; {layer.path} gives {shape[1:-1]} positions"
        )
    return math.prod(sides)
