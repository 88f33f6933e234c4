"""A model drawn once more for images of one size, with a note of where its tokens lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import NoPictureError, UsageError
from keras_vit.explain.places import Place
from keras_vit.layers import (
    Attention,
    ConvAttention,
    ConvEmbedding,
    ConvTransformerBlock,
    EvaBlock,
    PatchEmbedding,
    RotaryAttention,
    RotaryEmbedding,
    TokenEmbedding,
    TransformerBlock,
)
from keras_vit.layers.grids import grid_and_prefix
from keras_vit.layers.with_scores import WithScores

Images = NDArray[np.floating[Any]]
BLOCKS = (TransformerBlock, ConvTransformerBlock, EvaBlock)


@dataclass
class Trace:
    """The symbolic tensors of a model for images of one size. It shares the model's layers.

    Attributes:
        name: the model's.
        images: its input.
        output: its output.
        outputs: of each layer whose output is a map, a token sequence, or a pair of a map and a token.
        places: where the tokens of each of those lie; in the order of the forward pass.
        layers: those layers.
        keys: where the keys of each attention block lie. The queries lie where its output does.
        scores: of each attention block that was asked for them, `(batch, heads, queries, keys)`.
        offsets: more inputs, of zeros, by which there is a gradient: at an attention block's scores, or
            at the map or the tokens that a layer gives.
    """

    name: str
    images: Any
    output: Any = None
    outputs: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    layers: dict[str, keras.layers.Layer] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    offsets: dict[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> list[str]:
        """The names of the attention blocks."""
        return list(self.keys)

    def model(self, outputs: Any) -> keras.Model:
        """From the images, and the offsets if there are some, to `outputs`."""
        inputs = [self.images, *self.offsets.values()] if self.offsets else self.images
        model = keras.Model(inputs, outputs, name=self.name)
        # For one call or few, TensorFlow's tracing takes longer than running; JAX compiles either way.
        model.run_eagerly = keras.backend.backend() != "jax"
        return model

    def run(self, outputs: Mapping[str, Any], images: Images) -> dict[str, NDArray[Any]]:
        """`outputs` for a batch of images, as float32 arrays."""
        found = self.model(dict(outputs)).predict_on_batch(images)
        return {name: np.asarray(value, np.float32) for name, value in found.items()}


def trace(
    model: keras.Model,
    images: Images,
    *,
    scores: Iterable[str] | bool = (),
    offsets: Mapping[str, Any] | None = None,
) -> Trace:
    """Draw `model` for images of this size.

    Args:
        model: a Functional model from one batch of images, such as `keras_vit.load` gives.
        images: `(batch, height, width, channels)`; the shape alone counts.
        scores: the blocks whose attention scores are wanted; True for all.
        offsets: names of layers and the symbolic tensor of each, from a trace before this one, to which
            an offset is added: the scores of an attention block, or a layer's map or tokens.

    Raises:
        UsageError: for images that the model does not take, or a model that is not Functional.
    """
    inputs = keras_model(model).inputs or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UsageError(f"{model.name} is no Functional Keras model of one batch of images")
    taken = tuple(inputs[0].shape[1:])
    if images.ndim != 4 or any(
        known not in (None, given) for known, given in zip(taken, images.shape[1:], strict=True)
    ):
        raise UsageError(
            f"{model.name} takes images of (batch, height, width, channels) = {(None, *taken)}, "
            f"not {images.shape}; `model.preprocess` makes them"
        )
    symbol = keras.Input(images.shape[1:], name="images", dtype=inputs[0].dtype)
    found = Trace(model.name, symbol)
    for name, like in (offsets or {}).items():
        found.offsets[name] = keras.Input(like.shape[1:], name=f"{name}_offset", dtype="float32")
    size: Any = images.shape[1:3]
    # By the identity of a symbolic tensor: the sequence, the map, or the map of a pair.
    places = {id(symbol): Place((), size, (0.0, 0.0), (1.0, 1.0))}

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        before = places.get(id(grid_and_prefix(args[0])[0])) if args else None
        wanted = isinstance(layer, BLOCKS) and (
            scores if isinstance(scores, bool) else layer.name in scores
        )
        if wanted:
            outputs, found.scores[layer.name] = WithScores(layer, name=layer.name)(
                *args, scores_offset=found.offsets.get(layer.name), **kwargs
            )
        else:
            outputs = layer(*args, **kwargs)
        place = _place(layer, before, outputs) if before else None
        if place is None:
            return outputs
        if layer.name in found.offsets and not wanted:
            outputs = _sum(outputs, found.offsets[layer.name])
        places[id(grid_and_prefix(outputs)[0])] = place
        found.outputs[layer.name], found.places[layer.name] = outputs, place
        found.layers[layer.name] = layer
        if isinstance(layer, BLOCKS):
            found.keys[layer.name] = _key_place(layer, place)
        return outputs

    # Of a plain model: a clone of a compiled one would be compiled, and have an optimizer of its own.
    more = [keras.Input(x.shape[1:]) for x in found.offsets.values()]
    copy = keras.models.clone_model(
        keras.Model([inputs[0], *more], model.outputs[0], name=model.name),
        input_tensors=[symbol, *found.offsets.values()],
        clone_function=lambda layer: layer,
        call_function=call,
    )
    found.output = copy.outputs[0]
    return found


def keras_model(model: Any) -> keras.Model:
    """The model itself.

    Raises:
        NoPictureError: for a file (`keras_vit.export.open_artifact`), which gives no more than its outputs.
    """
    if not isinstance(model, keras.Model):
        raise NoPictureError(f"{model.path} gives its outputs alone: this takes the Keras model")
    return model


def asked(trace: Trace, at: Iterable[str] | None) -> list[str]:
    """The attention blocks that the caller means; None is all.

    Raises:
        NoPictureError: if the model has none.
        UsageError: if it has not those.
    """
    wanted = trace.blocks if at is None else list(at)
    if not trace.blocks:
        raise NoPictureError(
            f"{trace.name} has no attention: grad_cam shows what a ResNet looks at"
        )
    unknown = [name for name in wanted if name not in trace.keys]
    if unknown:
        raise UsageError(
            f"no attention in {', '.join(unknown)}: there is {', '.join(trace.blocks)}"
        )
    return wanted


def _sum(outputs: Any, offset: Any) -> Any:
    """The output, of a pair its map, with an offset."""
    grid, prefix = grid_and_prefix(outputs)
    grid = grid + keras.ops.cast(offset, grid.dtype)
    return [grid, *prefix] if prefix else grid


def _place(layer: keras.layers.Layer, before: Place, outputs: Any) -> Place | None:
    """Where the tokens of a layer's output lie, if it is a map or a token sequence."""
    grid, prefix = grid_and_prefix(outputs)
    for kind, rule in _PLACES.items():
        if isinstance(layer, kind):
            return rule(layer, before, outputs)
    if len(grid.shape) == 4:
        size = grid.shape[1:3]
        moved = before if size == before.grid else before.spread(size)
        return replace(moved, prefix=before.prefix if prefix else ())
    if len(grid.shape) == 3 and grid.shape[1] == before.count:
        return before
    return None


def _of_patches(layer: Any, before: Place, outputs: Any) -> Place:
    return before.window(layer.patch_size, layer.patch_size, 0, outputs.shape[1:3])


def _of_windows(layer: Any, before: Place, outputs: Any) -> Place:
    grid, _ = grid_and_prefix(outputs)
    kernel, stride = (layer.kernel_size,) * 2, (layer.stride,) * 2
    after = before.window(kernel, stride, layer.padding, grid.shape[1:3])
    return replace(after, prefix=("class",) * layer.use_class_token)


def _of_tokens(layer: Any, before: Place, outputs: Any) -> Place:
    prefix = ("class",) * layer.use_class_token + ("distillation",) * layer.use_dist_token
    return replace(before, prefix=prefix + ("register",) * layer.reg_tokens)


def _of_angles(layer: Any, before: Place, outputs: Any) -> None:
    """Tables of cosines and sines are no tokens."""


_PLACES: dict[type, Callable[[Any, Place, Any], Place | None]] = {
    PatchEmbedding: _of_patches,
    ConvEmbedding: _of_windows,
    TokenEmbedding: _of_tokens,
    RotaryEmbedding: _of_angles,
}


def _key_place(layer: Any, place: Place) -> Place:
    """Where a block's keys lie, whose queries lie at `place`."""
    if isinstance(layer.attn, Attention | RotaryAttention):
        return place
    assert isinstance(layer.attn, ConvAttention)
    projection = layer.attn.conv_proj_k
    if projection.method == "linear":
        return place
    grid = projection.compute_output_shape((None, *place.grid, 1))[1:3]
    kernel, stride = (projection.kernel_size,) * 2, (projection.stride,) * 2
    keys = place.window(kernel, stride, projection.padding, grid)
    return replace(keys, prefix=place.prefix)
