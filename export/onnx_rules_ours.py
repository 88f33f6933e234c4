"""Rules of our own layers.

What inference does not need is folded into the weights as they are written: attention's scale, LayerScale,
BatchNorm behind a convolution, the standardisation of kernels, prefix tokens into the positions.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vit import layers
from keras_vit.export.front import Normalize
from keras_vit.export.onnx_activations import scalar
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import (
    channelwise,
    combine,
    convolve,
    floats,
    grid_to_tokens,
    pad_map,
    pool,
    reduce,
    reshape,
    tokens_to_grid,
    transpose,
)
from keras_vit.export.onnx_rules_keras import (
    attend,
    batch_norm_factors,
    concatenated,
    depthwise_kernel,
    group_norm,
)
from keras_vit.layers.grids import grid_and_prefix
from keras_vit.resize import resize_grid, resize_matrix


def patch_embedding(graph: Graph, layer: Any, x: Value) -> Value:
    """A convolution."""
    return graph.layer(layer.proj, x)


def token_embedding(graph: Graph, layer: Any, x: Value) -> Value:
    """Zeros in front of the patches, then one sum: of positions, and prefix tokens where the zeros are."""
    height, width, dim = x.sides(1, 2, 3)
    tokens = grid_to_tokens(graph, x)
    prefix, length = layer.num_prefix_tokens, height * width

    def table() -> np.ndarray:
        values = np.zeros((1, prefix + length, dim), np.float32)
        if layer.prefix:
            values[0, :prefix] = np.concatenate([as_array(token)[0] for token in layer.prefix])
        if layer.position_embedding:
            positions = as_array(layer.pos_embed)[0]
            extra = 0 if layer.no_embed_class else prefix
            grid = positions[extra:].reshape(*layer.grid_size, dim)
            values[0, :extra] += positions[:extra]
            values[0, prefix:] = resize_grid(grid, (height, width), layer.pos_resize).reshape(
                -1, dim
            )
        return values

    if prefix:
        pads = np.array([0, prefix, 0, 0, 0, 0], np.int64)
        tokens = graph.node("Pad", tokens, pads, shape=(x.shape[0], prefix + length, dim))
    if not prefix and not layer.position_embedding:
        return tokens
    return graph.node(
        "Add", tokens, graph.weight(layer, "pos_embed", (1, prefix + length, dim), table)
    )


def transformer_block(
    graph: Graph, layer: Any, x: Value, return_attention_scores: bool = False
) -> Any:
    """Two residual branches, LayerScale folded into the last product of each."""
    normed = graph.layer(layer.norm1, x)
    mixed = graph.layer(
        layer.attn,
        normed,
        return_attention_scores=return_attention_scores or None,
        factors=_gamma(layer.ls1),
    )
    mixed, scores = mixed if return_attention_scores else (mixed, None)
    x = graph.node("Add", x, mixed)
    hidden = graph.layer(layer.mlp, graph.layer(layer.norm2, x), factors=_gamma(layer.ls2))
    x = graph.node("Add", x, hidden)
    return (x, scores) if return_attention_scores else x


def _gamma(scale: Any) -> Callable[[], np.ndarray] | None:
    """LayerScale's factors, or None where there is none."""
    if scale is None:
        return None
    if type(scale) is not layers.LayerScale:
        raise NoRule(f"no rule for {type(scale).__name__}, layer {scale.name!r}")
    return lambda: as_array(scale.gamma)


def layer_scale(graph: Graph, layer: Any, x: Value) -> Value:
    """One factor a channel."""
    return channelwise(graph, "Mul", x, layer, "gamma", lambda: layer.gamma)


def mlp(
    graph: Graph, layer: Any, x: Value, factors: Callable[[], np.ndarray] | None = None
) -> Value:
    """Two products; `factors` multiply what they give."""
    return graph.layer(layer.fc2, graph.layer(layer.fc1, x), factors=factors)


def attention(
    graph: Graph,
    layer: Any,
    x: Value,
    return_attention_scores: bool = False,
    factors: Callable[[], np.ndarray] | None = None,
) -> Any:
    """One product for queries, keys and values, whose heads are laid out and split at once.

    Args:
        factors: multiply what it gives.
    """
    batch, tokens, _ = x.shape
    heads, size, dim = layer.num_heads, layer.head_dim, x.channels
    scale = size**-0.5
    folded = None if layer.norms else _first_third(dim, scale)
    qkv = graph.layer(layer.qkv, x, factors=folded)
    operator = graph.attention == "operator" and not return_attention_scores
    if operator and not layer.norms:
        parts = np.full(3, dim, np.int64)
        q, k, v = graph.split_node("Split", qkv, parts, shapes=[x.shape] * 3, axis=-1)
        mixed, scores = attention_operator(graph, q, k, v, heads), None
    else:
        qkv = transpose(graph, reshape(graph, qkv, (batch, tokens, 3 * heads, size)), (0, 2, 1, 3))
        parts, shape = np.full(3, heads, np.int64), (batch, heads, tokens, size)
        q, k, v = graph.split_node("Split", qkv, parts, shapes=[shape] * 3, axis=1)
        if layer.norms:
            q = graph.layer(layer.norms[0], q, factor=scale)
            k = graph.layer(layer.norms[1], k)
        if operator:
            mixed = graph.node("Attention", q, k, v, scale=1.0)
            mixed = reshape(graph, transpose(graph, mixed, (0, 2, 1, 3)), x.shape)
            scores = None
        else:
            mixed, scores = attend(graph, q, transpose(graph, k, (0, 1, 3, 2)), v)
    mixed = graph.layer(layer.proj, mixed, factors=factors)
    return (mixed, scores) if return_attention_scores else mixed


def _first_third(dim: int, factor: float) -> Callable[[], np.ndarray]:
    """`factor` for the queries, 1 for keys and values."""
    return lambda: np.repeat(np.array([factor, 1, 1], np.float32), dim)


def attention_operator(graph: Graph, query: Value, key: Value, value: Value, heads: int) -> Value:
    """ONNX's Attention of scaled queries, keys and values (batch, tokens, heads * size)."""
    return graph.node(
        "Attention", query, key, value, q_num_heads=heads, kv_num_heads=heads, scale=1.0
    )


def with_scores(graph: Graph, layer: Any, x: Any) -> Any:
    """A block that gives its attention map as well."""
    return graph.layer(layer.block, x, return_attention_scores=True)


def token_pool(graph: Graph, layer: Any, x: Value) -> Value:
    """One token, or the patches without the prefix, pooled."""
    x = graph.channels_last(x)
    if layer.mode == "token":
        index = np.array(layer.index, np.int64)
        return graph.node("Gather", x, index, shape=(x.shape[0], x.shape[2]), axis=1)
    prefix, length = layer.num_prefix_tokens, x.shape[1]
    patches = x
    if prefix:
        shape = (x.shape[0], length and length - prefix, x.shape[2])
        patches = rows(graph, x, prefix, None, shape)
    return _pooled(graph, layer.mode, patches, [1])


def rows(graph: Graph, x: Value, start: int, stop: int | None, shape: tuple) -> Value:
    """`x[:, start:stop]`."""
    ends = np.array([np.iinfo(np.int64).max if stop is None else stop])
    return graph.node("Slice", x, np.array([start]), ends, np.array([1]), shape=shape)


def map_pool(graph: Graph, layer: Any, x: Value) -> Value:
    """A map, pooled over its pixels."""
    return _pooled(graph, layer.mode, x, [1, 2])


def _pooled(graph: Graph, mode: str, x: Value, axes: list[int]) -> Value:
    """The mean, the maximum, or the mean of both."""
    ops = {"avg": ["ReduceMean"], "max": ["ReduceMax"], "avgmax": ["ReduceMean", "ReduceMax"]}
    values = [reduce(graph, op, x, axes, False) for op in ops[mode]]
    if len(values) == 1:
        return values[0]
    return graph.node("Mul", graph.node("Add", *values), scalar(0.5))


# Convolutional networks


def standardized_conv(graph: Graph, layer: Any, x: Value) -> Value:
    """A plain convolution with the standardised kernel."""
    size = layer.kernel_size
    kernel = graph.weight(
        layer,
        "kernel",
        (layer.filters, x.channels, size, size),
        lambda: standardized_kernel(layer).transpose(3, 2, 0, 1),
    )
    padding = [size // 2] * 4 if layer.padding == "symmetric" else "same"
    return convolve(graph, x, kernel, None, (layer.strides, layer.strides), padding)


def standardized_kernel(layer: Any) -> np.ndarray:
    """The kernel (height, width, channels, filters) of a `StandardizedConv2D`, in float64 until the end."""
    kernel = as_array(layer.kernel).astype(np.float64)
    centred = kernel - kernel.mean((0, 1, 2))
    variance = (centred**2).mean((0, 1, 2))
    if layer.form == "variance":
        return (centred / np.sqrt(variance + layer.epsilon)).astype(np.float32)
    return (centred / (np.sqrt(variance) + layer.epsilon)).astype(np.float32)


def group_norm_ours(graph: Graph, layer: Any, x: Value) -> Value:
    """GroupNorm of a map."""
    gamma, beta = (lambda: layer.gamma), (lambda: layer.beta)
    return group_norm(graph, layer, x, layer.groups, layer.epsilon, gamma, beta)


def bottleneck(graph: Graph, layer: Any, x: Value) -> Value:
    """The residual block of BiT and of the hybrids."""

    def relu(y: Value) -> Value:
        return graph.node("Relu", y)

    if layer.pre_activation:
        y = relu(graph.layer(layer.norm1, x))
        shortcut = graph.layer(layer.downsample_conv, y) if layer.projection else x
        y = relu(graph.layer(layer.norm2, graph.layer(layer.conv1, y)))
        y = relu(graph.layer(layer.norm3, graph.layer(layer.conv2, y)))
        return combine(graph, "Add", [shortcut, graph.layer(layer.conv3, y)])
    shortcut = x
    if layer.projection:
        shortcut = graph.layer(layer.downsample_norm, graph.layer(layer.downsample_conv, x))
    y = relu(graph.layer(layer.norm1, graph.layer(layer.conv1, x)))
    y = relu(graph.layer(layer.norm2, graph.layer(layer.conv2, y)))
    y = graph.layer(layer.norm3, graph.layer(layer.conv3, y))
    return relu(combine(graph, "Add", [shortcut, y]))


def resnet_stem(graph: Graph, layer: Any, x: Value) -> Value:
    """Convolution, perhaps norm, and the maximum of windows, in which BiT's zeros take part."""
    x = graph.layer(layer.conv, x)
    if layer.use_norm:
        x = graph.node("Relu", graph.layer(layer.norm, x))
    padding = "same"
    if layer.pool_padding == "zero":
        x, padding = pad_map(graph, x, 1, 1, 1, 1), "valid"
    return pool(graph, "MaxPool", x, (3, 3), (2, 2), padding)


# CvT


def conv_embedding(graph: Graph, layer: Any, x: Value) -> Any:
    """A convolution, LayerNorm over the channels, perhaps positions and a class token."""
    convolution = layer.proj
    window, channels = layer.kernel_size, x.channels
    with graph.scope(convolution.name):
        kernel = graph.weight(
            convolution,
            "kernel",
            (layer.embed_dim, channels, window, window),
            lambda: as_array(convolution.kernel).transpose(3, 2, 0, 1),
        )
        bias = graph.weight(convolution, "bias", (layer.embed_dim,), lambda: convolution.bias)
        strides = (layer.stride, layer.stride)
        x = convolve(graph, x, kernel, bias, strides, [layer.padding] * 4)
    _, height, width, _ = x.shape
    # As tokens, which is what the blocks take it for.
    tokens = graph.layer(layer.norm, grid_to_tokens(graph, x))
    if layer.position_embedding:
        size = x.sides(1, 2)
        shape = (1, math.prod(size), layer.embed_dim)

        def positions() -> np.ndarray:
            grid = as_array(layer.pos_embed)[0]
            return resize_grid(grid, (size[0], size[1]), layer.pos_resize).reshape(shape)

        tokens = graph.node("Add", tokens, graph.weight(layer, "pos_embed", shape, positions))
    grid = tokens_to_grid(graph, tokens, height, width)
    if not layer.use_class_token:
        return grid
    return [grid, _one_an_image(graph, layer, x)]


def _one_an_image(graph: Graph, layer: Any, x: Value) -> Value:
    """The class token for each image, (batch, 1, dim)."""
    dim = layer.embed_dim
    token = graph.weight(layer, "cls_token", (1, 1, dim), lambda: layer.cls_token)
    batch = graph.node("Shape", x, shape=(1,), dtype="int64", channels_first=False, start=0, end=1)
    sides = graph.node("Concat", batch, np.array([1, dim]), shape=(3,), axis=0)
    return graph.node("Expand", token, sides, shape=(x.shape[0], 1, dim))


def conv_projection(graph: Graph, layer: Any, x: Value) -> Value:
    """A depthwise convolution with BatchNorm folded, averages, or nothing."""
    if layer.method == "linear":
        return x
    channels, size = x.channels, layer.kernel_size
    if layer.method == "average":
        return _averages(graph, layer, x)
    _require_folding(layer)

    def folded() -> np.ndarray:
        factors = batch_norm_factors(layer.bn)[0].reshape(-1, 1, 1, 1)
        return depthwise_kernel(layer.conv) * factors

    kernel = graph.weight(layer, "kernel", (channels, 1, size, size), folded)
    bias = graph.weight(layer, "bias", (channels,), lambda: batch_norm_factors(layer.bn)[1])
    strides = (layer.stride, layer.stride)
    return convolve(graph, x, kernel, bias, strides, [layer.padding] * 4, groups=channels)


def _require_folding(layer: Any) -> None:
    for part, kind in (
        (layer.conv, keras.layers.DepthwiseConv2D),
        (layer.bn, keras.layers.BatchNormalization),
    ):
        if type(part) is not kind:
            raise NoRule(f"no rule for {type(part).__name__}, layer {part.name!r}")


def _averages(graph: Graph, layer: Any, x: Value) -> Value:
    """The means of windows; those that reach beyond the padding are the means of what is inside."""
    size, stride, padding = layer.kernel_size, layer.stride, layer.padding
    beyond = stride - 1
    padded = pad_map(graph, x, padding, padding, padding + beyond, padding + beyond)
    y = pool(graph, "AveragePool", padded, (size, size), (stride, stride), "valid")
    if not beyond:
        return y

    def inside(length: int, outputs: int) -> np.ndarray:
        starts = stride * np.arange(outputs)
        return np.minimum(starts + size, length + 2 * padding) - starts

    counts = [inside(n, m) for n, m in zip(x.sides(1, 2), y.sides(1, 2), strict=True)]
    factors = (size * size / np.multiply.outer(*counts)).astype(np.float32)
    return graph.node("Mul", y, factors)


def conv_attention(graph: Graph, layer: Any, x: Any, return_attention_scores: bool = False) -> Any:
    """CvT's attention: queries, keys and values of a map, by convolutions and products."""
    grid, prefix = grid_and_prefix_values(x)
    heads, size = layer.num_heads, layer.head_dim
    width = heads * size
    factors = {"q": lambda: np.full(width, layer.scale, np.float32)}
    projected = {}
    for part in "qkv":
        tokens = join(graph, graph.layer(getattr(layer, f"conv_proj_{part}"), grid), prefix)
        product = getattr(layer, f"proj_{part}")
        projected[part] = graph.layer(product, tokens, factors=factors.get(part))
    if graph.attention == "operator" and not return_attention_scores:
        mixed, scores = (
            attention_operator(graph, projected["q"], projected["k"], projected["v"], heads),
            None,
        )
    else:
        perms = {"q": (0, 2, 1, 3), "k": (0, 2, 3, 1), "v": (0, 2, 1, 3)}
        q, k, v = (
            transpose(graph, reshape(graph, y, (*y.shape[:2], heads, size)), perms[part])
            for part, y in projected.items()
        )
        mixed, scores = attend(graph, q, k, v)
    mixed = graph.layer(layer.proj, mixed)
    return (mixed, scores) if return_attention_scores else mixed


def grid_and_prefix_values(x: Any) -> tuple[Value, list[Value]]:
    """The map, and a list of the class token if there is one."""
    return (x, []) if isinstance(x, Value) else grid_and_prefix(x)


def join(graph: Graph, grid: Value, prefix: list[Value]) -> Value:
    """Class token, if any, and pixels: (batch, tokens, channels)."""
    names = [value.name for value in (grid, *prefix)]
    if ("joined", *names) in graph.known:
        return graph.known["joined", *names]
    tokens = grid_to_tokens(graph, grid)
    return concatenated(graph, [*prefix, tokens], 1) if prefix else tokens


def conv_block(graph: Graph, layer: Any, x: Any, return_attention_scores: bool = False) -> Any:
    """CvT's block, on tokens; its attention sees them as a map."""
    grid, prefix = grid_and_prefix_values(x)
    tokens = join(graph, grid, prefix)
    inputs = _split(graph, graph.layer(layer.norm1, tokens), grid, prefix)
    mixed = graph.layer(layer.attn, inputs, return_attention_scores=return_attention_scores or None)
    mixed, scores = mixed if return_attention_scores else (mixed, None)
    tokens = graph.node("Add", tokens, mixed)
    hidden = graph.layer(layer.mlp, graph.layer(layer.norm2, tokens))
    outputs = _split(graph, graph.node("Add", tokens, hidden), grid, prefix)
    return (outputs, scores) if return_attention_scores else outputs


def _split(graph: Graph, tokens: Value, grid: Value, prefix: list[Value]) -> Any:
    """A map, or a map and a class token, as the block got them; joined again they are `tokens`."""
    _, height, width, _ = grid.shape
    if not prefix:
        return tokens_to_grid(graph, tokens, height, width)
    batch, length, dim = tokens.shape
    pixels = rows(graph, tokens, 1, None, (batch, length and length - 1, dim))
    grid = tokens_to_grid(graph, pixels, height, width)
    token = rows(graph, tokens, 0, 1, (batch, 1, dim))
    graph.known["joined", grid.name, token.name] = tokens
    return [grid, token]


# Preprocessing


def normalize(graph: Graph, layer: Any, x: Value) -> Value:
    """One product and one sum a pixel, on the map as convolutions take it."""
    x = floats(graph, graph.channels_first(x))
    std, mean = np.array(layer.std), np.array(layer.mean)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: 1 / (255 * std))
    return channelwise(graph, "Add", x, layer, "offset", lambda: -mean / std)


def preprocess(graph: Graph, layer: Any, x: Value) -> Value:
    """Pillow's resize, an axis after the other, each a product with a constant; then `normalize`."""
    spec = layer.spec
    height, width = x.sides(1, 2)
    x = floats(graph, graph.channels_first(x))
    resized = spec.resized(height, width)
    if not (height, width) == resized == spec.image_size:
        passes = [(2, width, resized[1]), (1, height, resized[0])]
        if height - resized[0] > 2 * max(0, width - resized[1]):
            passes.reverse()  # as Pillow does it
        for axis, old, new in passes:
            x = _resized(graph, layer, x, axis, old, new)
    std, mean = np.array(spec.std), np.array(spec.mean)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: 1 / (255 * std))
    return channelwise(graph, "Sub", x, layer, "offset", lambda: mean / std)


def _resized(graph: Graph, layer: Any, x: Value, axis: int, old: int, new: int) -> Value:
    """One axis resized and cropped, rounded and clipped to 0..255; `x` is stored channels first."""
    spec = layer.spec
    kept = spec.image_size[axis - 1]

    def matrix() -> np.ndarray:
        whole = resize_matrix(old, new, f"{spec.interpolation}_antialias")
        start = round((new - kept) / 2)
        part = whole[start : start + kept]
        return part if axis == 1 else part.T

    shape = tuple(kept if a == axis else side for a, side in enumerate(x.shape))
    if axis == 1:
        weight = graph.weight(layer, "rows", (kept, old), matrix)
        x = graph.node("MatMul", weight, x, shape=shape, channels_first=True)
    else:
        weight = graph.weight(layer, "columns", (old, kept), matrix)
        x = graph.node("MatMul", x, weight, shape=shape)
    return graph.node("Clip", graph.node("Round", x), scalar(0.0), scalar(255.0))


RULES: dict[type, Rule] = {
    layers.PatchEmbedding: patch_embedding,
    layers.TokenEmbedding: token_embedding,
    layers.TransformerBlock: transformer_block,
    layers.Attention: attention,
    layers.MLP: mlp,
    layers.LayerScale: layer_scale,
    layers.WithScores: with_scores,
    layers.TokenPool: token_pool,
    layers.MapPool: map_pool,
    layers.StandardizedConv2D: standardized_conv,
    layers.GroupNorm: group_norm_ours,
    layers.Bottleneck: bottleneck,
    layers.ResNetStem: resnet_stem,
    layers.ConvEmbedding: conv_embedding,
    layers.ConvProjection: conv_projection,
    layers.ConvAttention: conv_attention,
    layers.ConvTransformerBlock: conv_block,
    Normalize: normalize,
    layers.Preprocess: preprocess,
}

CASTING = {Normalize, layers.Preprocess}
"""Layers that take images of any element type."""
