"""Activation smoothing: take the outliers out of what a product is given, and put them into its weights.

SmoothQuant (arXiv:2211.10438): some channels of a Transformer's activations are far larger than the
others, and int8's one range for all leaves the others few steps. What a product is given is divided by a
factor a channel, and the rows of its kernel are multiplied by it. Neither costs anything, because the
division goes into what made the channel: the norm before `qkv` and `fc1`, and the value columns
before `proj` (attention mixes tokens, not channels). Factors are powers of two: in float32 the model
gives the same answers to the bit.

A rule for each class of block says where that can be done; a product is changed only where an imitation
of its int8 arithmetic on real inputs becomes better by it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vit import layers
from keras_vit.layers.grids import grid_and_prefix, join_tokens, split_tokens

_STRENGTHS = (0.25, 0.5, 0.75)  # the paper's alpha: how much of the range goes into the weights
_ENOUGH = 0.9  # of the error before, at most, for a change to be worth it
_ROWS = 512  # tokens that a product is tried on
_REACH = 6  # of a factor, in powers of 2 up and down


@dataclass(frozen=True)
class Site:
    """A product whose input channels can be scaled.

    Attributes:
        name: of the layer that multiplies.
        inputs: (tokens, channels) that it is given.
        kernels: (channels, outputs); several where layers share the inputs.
        makers: what makes the channels: variables, and which of their last axis' entries.
    """

    name: str
    inputs: np.ndarray
    kernels: tuple[keras.Variable, ...]
    makers: tuple[tuple[keras.Variable, slice], ...]

    def scale(self, factors: np.ndarray) -> None:
        """Divide the input channels by factors, and multiply the kernels' rows by them."""
        for variable, part in self.makers:
            value = _array(variable).copy()
            value[..., part] /= factors
            variable.assign(value)
        for kernel in self.kernels:
            kernel.assign(_array(kernel) * factors[:, None])


@dataclass(frozen=True)
class Smoothed:
    """What was done to a product.

    Attributes:
        name: of the layer.
        strength: alpha of the paper, 0..1.
        before, after: mean square error of the product in int8, over the variance of its exact results.
    """

    name: str
    strength: float
    before: float
    after: float


def smooth(model: keras.Model, images: np.ndarray) -> tuple[tuple[Smoothed, ...], int]:
    """Scale the channels of a float32 model's products, in place, where that helps int8.

    Args:
        model: whose weights may be changed.
        images: as it takes them; 8 to 32 are enough.

    Returns:
        What was done, and how many products were looked at.
    """
    done, count = [], 0
    for block, given in _blocks(model, images):
        for site in _SITES[type(block)](block, given):
            count += 1
            factors, smoothed = _best(site)
            if factors is not None and smoothed is not None:
                site.scale(factors)
                done.append(smoothed)
    return tuple(done), count


def has_blocks(model: Any) -> bool:
    """Whether there is a block in a model that a rule is for."""
    return any(_is_looked_into(layer) for layer in model.layers)


def _is_looked_into(layer: Any) -> bool:
    return type(layer) in _SITES or (isinstance(layer, keras.Model) and has_blocks(layer))


def _blocks(model: Any, images: Any) -> Iterator[tuple[Any, Any]]:
    """Every block with what it is given, in models inside too."""
    symbols = {x.name: _input_of(model, x) for x in model.layers if _is_looked_into(x)}
    symbols = {name: symbol for name, symbol in symbols.items() if symbol is not None}
    if not symbols:
        return
    values = keras.Model(model.inputs[0], symbols)(images, training=False)
    for name in symbols:
        layer = model.get_layer(name)
        if type(layer) in _SITES:
            yield layer, values[name]
        else:
            yield from _blocks(layer, values[name])


def _input_of(model: Any, layer: Any) -> Any:
    """The symbolic input of a layer's first call; None where a model inside follows another one.

    A model's own `input` is where its own graph begins.
    """
    if not isinstance(layer, keras.Model):
        return layer.input
    config = keras.Model(model.inputs[0], model.outputs).get_config()
    (entry,) = [entry for entry in config["layers"] if entry["name"] == layer.name]
    (given,) = entry["inbound_nodes"][0]["args"]
    maker = model.get_layer(given["config"]["keras_history"][0])
    return None if isinstance(maker, keras.Model) else maker.output


def _transformer_sites(block: Any, x: Any) -> Iterator[Site]:
    """`qkv` and `fc1` behind their norms, and `proj` behind the values."""
    attention = block.attn
    normed = block.norm1(x)
    yield from _behind_norm(block.norm1, [attention.qkv], normed)
    mixed, scores = attention(normed, return_attention_scores=True)
    values = slice(2 * x.shape[-1], None)
    made = attention.qkv(normed)[..., values]
    makers = _columns(attention.qkv, values)
    yield _behind_product(attention.proj, makers, _mix(scores, made))
    x = x + (mixed if block.ls1 is None else block.ls1(mixed))
    yield from _behind_norm(block.norm2, [block.mlp.fc1], block.norm2(x))


def _convolutional_sites(block: Any, inputs: Any) -> Iterator[Site]:
    """CvT: `fc1` behind its norm, and `proj` behind the values. Between the first norm and the other
    products there are convolutions, past which the class token goes."""
    attention = block.attn
    tokens = join_tokens(*grid_and_prefix(inputs))
    normed = split_tokens(block.norm1(tokens), inputs)
    mixed, scores = attention(normed, return_attention_scores=True)
    grid, prefix = grid_and_prefix(normed)
    made = attention.proj_v(join_tokens(attention.conv_proj_v(grid), prefix))
    makers = _columns(attention.proj_v, slice(None))
    yield _behind_product(attention.proj, makers, _mix(scores, made))
    tokens = tokens + mixed
    yield from _behind_norm(block.norm2, [block.mlp.fc1], block.norm2(tokens))


def _eva_sites(block: Any, given: Any) -> Iterator[Site]:
    """What is behind norms, `proj` behind the values, and `fc2` behind what its gate multiplies."""
    x, rope = given if isinstance(given, list) else (given, None)
    attention = block.attn
    normed = x if block.post_norm else block.norm1(x)
    if not block.post_norm:
        yield from _behind_norm(block.norm1, attention.projections, normed)
    mixed, scores = attention(normed, rope=rope, return_attention_scores=True)
    if attention.num_kv_heads == attention.num_heads:
        yield from _rotary_sites(attention, normed, scores)
    mixed = block.norm1(mixed) if block.post_norm else mixed
    x = x + (mixed if block.ls1 is None else block.ls1(mixed))
    normed = x if block.post_norm else block.norm2(x)
    gated = isinstance(block.mlp, layers.GatedMLP)
    if not block.post_norm:
        first = block.mlp.first if gated else [block.mlp.fc1]
        yield from _behind_norm(block.norm2, first, normed)
    if gated:
        yield from _gated_sites(block.mlp, normed)


def _rotary_sites(attention: Any, normed: Any, scores: Any) -> Iterator[Site]:
    """`proj` behind the values, or behind the norm between."""
    dense = attention.projections[-1]
    values = slice(2 * normed.shape[-1], None) if attention.qkv_fused else slice(None)
    makers, made = _columns(dense, values), dense(normed)[..., values]
    if attention.has_bias_beside:
        makers, made = (*makers, (attention.v_bias, slice(None))), made + attention.v_bias
    mixed = _mix(scores, made)
    if attention.norm is None:
        yield _behind_product(attention.proj, makers, mixed)
    else:
        yield from _behind_norm(attention.norm, [attention.proj], attention.norm(mixed))


def _gated_sites(mlp: Any, inputs: Any) -> Iterator[Site]:
    """`fc2` behind the values that the gate multiplies, in which it is linear, or behind the norm between."""
    made = [dense(inputs) for dense in mlp.first]
    gate, value = ops.split(made[0], 2, axis=-1) if mlp.packed else made
    hidden = mlp.activation(gate) * value
    if mlp.norm is None:
        values = slice(mlp.hidden_dim, None) if mlp.packed else slice(None)
        yield _behind_product(mlp.fc2, _columns(mlp.first[-1], values), hidden)
    else:
        yield from _behind_norm(mlp.norm, [mlp.fc2], mlp.norm(hidden))


_SITES: dict[type, Callable[[Any, Any], Iterator[Site]]] = {
    layers.TransformerBlock: _transformer_sites,
    layers.ConvTransformerBlock: _convolutional_sites,
    layers.EvaBlock: _eva_sites,
}


def _behind_norm(norm: Any, products: list[Any], normed: Any) -> Iterator[Site]:
    """Products of a norm, where that has something to scale."""
    makers = tuple((variable, slice(None)) for variable in norm.variables)
    if any(variable.name in ("gamma", "scale") for variable in norm.variables):
        kernels = tuple(_variable(dense, "kernel") for dense in products)
        yield Site(products[0].path, _rows(normed), kernels, makers)


def _behind_product(dense: Any, makers: tuple[tuple[keras.Variable, slice], ...], x: Any) -> Site:
    """A product of what others, linear in their columns, made."""
    return Site(dense.path, _rows(x), (_variable(dense, "kernel"),), makers)


def _columns(dense: Any, part: slice) -> tuple[tuple[keras.Variable, slice], ...]:
    names = ("kernel", "bias") if dense.use_bias else ("kernel",)
    return tuple((_variable(dense, name), part) for name in names)


def _mix(scores: Any, values: Any) -> Any:
    """Attention's (batch, heads, queries, keys) on values (batch, keys, channels)."""
    batch, keys, channels = values.shape
    heads = scores.shape[1]
    values = ops.transpose(ops.reshape(values, (batch, keys, heads, -1)), (0, 2, 1, 3))
    mixed = ops.transpose(ops.matmul(scores, values), (0, 2, 1, 3))
    return ops.reshape(mixed, (batch, -1, channels))


def _variable(layer: Any, name: str) -> keras.Variable:
    """A layer's own variable; a LoRA layer's `kernel` is no variable."""
    (found,) = [variable for variable in layer.variables if variable.name == name]
    return found


def _array(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), np.float32)


def _rows(tokens: Any) -> np.ndarray:
    return _array(tokens).reshape(-1, tokens.shape[-1])


def _best(site: Site) -> tuple[np.ndarray | None, Smoothed | None]:
    """The factors with the smallest error, if that is well below the error without any."""
    kernel = np.concatenate([_array(kernel) for kernel in site.kernels], axis=1)
    before = int8_error(site.inputs, kernel)
    tried = []
    for strength in _STRENGTHS:
        factors = smoothing_factors(site.inputs, kernel, strength)
        error = int8_error(site.inputs / factors, kernel * factors[:, None])
        tried.append((error, strength, factors))
    error, strength, factors = min(tried, key=lambda found: found[0])
    if error > _ENOUGH * before:
        return None, None
    return factors, Smoothed(site.name, strength, before, error)


def smoothing_factors(inputs: np.ndarray, kernel: np.ndarray, strength: float) -> np.ndarray:
    """`max|x|^alpha / max|w|^(1 - alpha)` for each channel (arXiv:2211.10438, equation 4).

    Args:
        inputs: (tokens, channels). kernel: (channels, outputs). strength: alpha.

    Returns:
        (channels,) around 1, powers of 2, so that scaling by them rounds nothing; channels without
        inputs or weights have 1.
    """
    loud, strong = np.abs(inputs).max(axis=0), np.abs(kernel).max(axis=1)
    known = (loud > 0) & (strong > 0)
    factors = np.ones(len(loud))
    factors[known] = loud[known] ** strength / strong[known] ** (1 - strength)
    if known.any():
        factors[known] /= np.median(factors[known])
    return np.exp2(np.clip(np.rint(np.log2(factors)), -_REACH, _REACH)).astype(np.float32)


def int8_error(inputs: np.ndarray, kernel: np.ndarray) -> float:
    """Mean square error of a product in int8, over the variance of its exact results.

    As onnxruntime's dynamic kernel computes: inputs in 255 steps of one range that holds zero, weights
    in 127 steps on either side, one scale an output.

    Args:
        inputs: (tokens, channels); the range is of all, the error of some of them.
        kernel: (channels, outputs).
    """
    low, high = min(float(inputs.min()), 0.0), max(float(inputs.max()), 0.0)
    some = inputs[:: max(1, len(inputs) // _ROWS)]
    exact = some @ kernel
    step = (high - low) / 255 or 1.0
    rounded = (np.clip(np.rint((some - low) / step), 0, 255) * step + low).astype(np.float32)
    scales = np.maximum(np.abs(kernel).max(axis=0), 1e-30) / 127
    difference = rounded @ (np.rint(kernel / scales) * scales).astype(np.float32) - exact
    return float(np.mean(difference**2) / max(float(exact.var()), 1e-30))
