"""`load`: from a name to a model with weights. `save_weights`: the way back."""

import dataclasses
import functools
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import CheckpointError, UsageError
from keras_vit.layers import skip_initialization
from keras_vit.models.factory import build_model, builder_of, merge_arguments
from keras_vit.models.model import VisionModel
from keras_vit.weights.adapt import Geometry
from keras_vit.weights.checkpoint import Array, Checkpoint, StoredTensor
from keras_vit.weights.files import open_checkpoint, write_safetensors
from keras_vit.weights.fill import fill
from keras_vit.weights.hub import fetch
from keras_vit.weights.name_map import Layout


def load(
    name: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = "pretrained",
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    labels: Sequence[str] | str | None = None,
    numerics: str | None = None,
    source: str | None = None,
    checkpoint_key: str | None = None,
    partial: bool = False,
    dtype: Any = None,
    **overrides: Any,
) -> VisionModel:
    """Builds a model by name and loads its weights.

    Args:
        name: a catalogue name (`keras_vit.list_models()`), or the path of a saved `.keras` file, which
            comes back as it was saved.
        weights: `"pretrained"` fetches the name's published checkpoint; None initialises freshly;
            otherwise a local file or folder (.safetensors, .bin, .pth, .keras), `"hf://org/name"` or
            `"hf://org/name/file"`.
        num_classes: number of logits; 0 gives pooled features. Where it differs from the checkpoint's,
            the classifier is new.
        image_size: side, or (height, width), in pixels. Position embeddings are resized as the
            checkpoint's source resizes them.
        in_chans: number of image channels; a first kernel for RGB is adapted as timm does it.
        labels: one name a class, or the name of a label set; sets `num_classes`.
        numerics: `"timm"` or `"source"`: whose arithmetic to follow; the catalogue's default when None.
        source: the checkpoint's tensor names, such as `"timm"`; recognised from the file when None.
        checkpoint_key: the entry of a torch training checkpoint to take, such as `"model_ema"`; None
            takes the trained weights, not their average.
        partial: load what fits, and report the rest.
        dtype: dtype policy, such as `"mixed_bfloat16"`; Keras' global one when None.
        **overrides: any other argument of the family's builder, such as `drop_path_rate=0.1`.

    Returns:
        A Functional `keras.Model`: `images` (batch, height, width, in_chans), normalised, to logits.
        `model.preprocess` normalises, `model.load_report` tells what became of each tensor.

    Raises:
        UnknownModelError: for an unknown name, with the nearest ones.
        UsageError: for an argument that does not fit.
        CheckpointError: for weights that cannot be had, are damaged, or are another model's.
    """
    if str(name).endswith(".keras"):
        asked = {
            "num_classes": num_classes,
            "image_size": image_size,
            "in_chans": in_chans,
            **overrides,
        }
        changed = [key for key, value in asked.items() if value is not None]
        if changed or weights != "pretrained":
            raise UsageError(
                f"{name} comes back as it was saved; to change {', '.join(changed) or 'its weights'}, "
                f"give the model's name and weights={str(name)!r}"
            )
        return load_saved(name)
    card = catalogue.info(str(name))
    builder = builder_of(card.builder)
    names = catalogue.labels(labels) if isinstance(labels, str) else labels
    if names is not None and num_classes not in (None, len(names)):
        raise UsageError(f"num_classes={num_classes}, but there are {len(names)} labels")
    overrides |= {"image_size": image_size, "in_chans": in_chans}
    overrides["num_classes"] = num_classes if names is None else len(names)
    changes = {key: value for key, value in overrides.items() if value is not None}
    arguments = merge_arguments(builder, card.arguments_for(numerics), changes)
    if names is None and card.labels and arguments["num_classes"] == card.num_classes:
        names = catalogue.labels(card.labels)
    patch_resize = arguments.pop("patch_resize", None)
    config = ModelConfig(
        name=card.name,
        family=card.family,
        arguments=arguments,
        preprocessing=_preprocessing(card.preprocessing, arguments),
        numerics=numerics or card.numerics,
        labels=None if names is None else tuple(names),
    )
    if weights is None:
        return build_model(builder, config, dtype=dtype)
    file, origin = _locate(weights, card)
    with _open_weights(file, checkpoint_key) as checkpoint:
        layout_name, layout = _layout(card, checkpoint, source)
        config = dataclasses.replace(config, weights=origin)
        # What is read next needs no initial values; a new head, and what partial=True leaves, does.
        with skip_initialization(keep=None if partial else ("head",)):
            model = build_model(builder, config, dtype=dtype)
        table = layout.for_model(variable.path for variable in model.weights)
        report = fill(
            model.weights,
            checkpoint.renamed(table.spelled),
            table,
            _geometry(model, card, patch_resize),
            arguments,
            source=origin,
            layout_name=layout_name,
            new_head="num_classes" in changes,
            partial=partial,
        )
    model.load_report = report
    return model


def load_saved(path: str | os.PathLike[str]) -> Any:
    """A model from a `.keras` file, as it was saved.

    Raises:
        CheckpointError: if there is no such file, or it is damaged or of classes that are not known.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Keras raises whatever the damaged part made it raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a whole .keras file: {reason}") from error


def save_weights(
    model: VisionModel, path: str | os.PathLike[str], layout: str = "timm", overwrite: bool = False
) -> Path:
    """Writes a model's weights under another library's tensor names, as .safetensors.

    Args:
        model: a model of `load`, in float32.
        path: the file, `.safetensors`.
        layout: `"timm"`: timm's `create_model(...).load_state_dict` takes it strictly.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown layout, another suffix, an existing file, or a model whose weights
            have no names there, such as a quantised one.
        CheckpointError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"weights are written as .safetensors. Received: {path}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; pass overwrite=True to replace it")
    if model.config is None:
        raise UsageError(
            "this model has no configuration; only a model of keras_vit.load has names"
        )
    layouts = _layouts(catalogue.info(model.config.name))
    if layout not in layouts:
        raise UsageError(f"layout must be one of {', '.join(layouts)}. Received: {layout!r}")
    table = layouts[layout].for_model(variable.path for variable in model.weights)
    tensors: dict[str, Any] = {}
    for variable in model.weights:
        row = table.find(variable.path)
        if row is None:
            raise UsageError(f"{layout} has no name for {variable.path}; export the model instead")
        array = keras.ops.convert_to_numpy(variable)
        parts = table.from_keras(row, array, model.config.arguments)
        tensors.update(zip(row.names, parts, strict=True))
        tensors.update(table.constants_beside(variable.path))
    write_safetensors(path, tensors, {"format": "pt"})
    return path


def _layouts(card: ModelCard) -> Mapping[str, Layout]:
    return importlib.import_module(card.name_map).LAYOUTS


def _preprocessing(published: Preprocessing, arguments: Mapping[str, Any]) -> Preprocessing:
    """The checkpoint's preprocessing at the model's own size and number of channels."""
    channels = arguments["in_chans"]

    def fit(values: tuple[float, ...]) -> tuple[float, ...]:
        if channels == len(values):
            return values
        if channels == 1:
            return (sum(values) / len(values),)
        return tuple(values[i % len(values)] for i in range(channels))

    return dataclasses.replace(
        published,
        image_size=arguments["image_size"],
        mean=fit(published.mean),
        std=fit(published.std),
    )


def _locate(weights: str | os.PathLike[str], card: ModelCard) -> tuple[Path, str]:
    """The checkpoint as a local path, and what to call it."""
    text = os.fspath(weights)
    if text == "pretrained":
        if card.hub_id is None:
            raise CheckpointError(
                f'{card.name} has no published weights: pass weights=None, or weights="FILE"'
            )
        files = [file for file in (card.hub_file, "model.safetensors", "pytorch_model.bin") if file]
        return fetch(card.hub_id, list(dict.fromkeys(files))), f"hf://{card.hub_id}"
    if text.startswith("hf://"):
        organisation, _, rest = text.removeprefix("hf://").partition("/")
        repository, _, file = rest.partition("/")
        files = [file] if file else ["model.safetensors", "pytorch_model.bin"]
        return fetch(f"{organisation}/{repository}", files), text
    if not Path(text).exists():
        raise CheckpointError(f'there is no file {text}; weights is a path, "pretrained", or None')
    return Path(text), Path(text).name


def _open_weights(file: Path, key: str | None) -> Checkpoint:
    """A checkpoint; of a .keras file, the saved model's variables by their paths."""
    if file.suffix != ".keras":
        return open_checkpoint(file, key=key)
    arrays = {v.path: _real(keras.ops.convert_to_numpy(v)) for v in load_saved(file).weights}
    tensors = {
        path: StoredTensor(array.shape, array.dtype, functools.partial(np.asarray, array))
        for path, array in arrays.items()
    }
    return Checkpoint(file, "keras", tensors, {}, (), lambda: None)


def _real(array: Array) -> Array:
    """bfloat16, which is no number to NumPy, as float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _layout(card: ModelCard, checkpoint: Checkpoint, source: str | None) -> tuple[str, Layout]:
    """The layout that knows most of the checkpoint's names, or the one that was asked for."""
    layouts = _layouts(card)
    if checkpoint.format == "keras":
        return "keras", next(iter(layouts.values())).by_path()
    if source is None:
        source = max(layouts, key=lambda name: layouts[name].count_known(checkpoint.keys()))
    if source not in layouts:
        raise UsageError(f"source must be one of {', '.join(layouts)}. Received: {source!r}")
    return source, layouts[source]


def _geometry(model: VisionModel, card: ModelCard, patch_resize: str | None) -> Geometry:
    """What resizing has to know. Without a layer `embedding` a family has no positions to resize."""
    if not any(layer.name == "embedding" for layer in model.layers):
        return Geometry(patch_resize=patch_resize)
    embedding = model.get_layer("embedding")
    size, patch = card.preprocessing.image_size, card.arguments["patch_size"]
    return Geometry(
        grid=embedding.grid_size,
        file_grid=(size[0] // patch[0], size[1] // patch[1]),
        file_patch=patch,
        prefix=0 if embedding.no_embed_class else embedding.num_prefix_tokens,
        pos_resize=embedding.pos_resize,
        patch_resize=patch_resize,
    )
