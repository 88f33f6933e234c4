"""`load`: from a name to a model with weights. The way back is in `saving.py`."""

import contextlib
import dataclasses
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import CheckpointError, KerasVitError, UsageError
from keras_vit.layers import skip_initialization
from keras_vit.licences import mark, marked
from keras_vit.models.factory import build_model, builder_of, merge_arguments
from keras_vit.models.model import VisionModel
from keras_vit.weights.adapt import Geometry
from keras_vit.weights.checkpoint import Array, Checkpoint, StoredTensor, as_real, check_finite
from keras_vit.weights.checksum import lower_sha256, require_sha256
from keras_vit.weights.files import open_checkpoint
from keras_vit.weights.fill import fill
from keras_vit.weights.hub import fetch
from keras_vit.weights.huggingface import CONFIG_FILE, read_settings
from keras_vit.weights.keras_file import check_keras_file
from keras_vit.weights.name_map import Layout, layouts_of

# What a repository of the hub is searched for, best first.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


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
    sha256: str | None = None,
    partial: bool = False,
    dtype: Any = None,
    **overrides: Any,
) -> VisionModel:
    """Builds a model by name and loads its weights.

    Args:
        name: a catalogue name (`keras_vit.list_models()`), or the path of a saved `.keras` file, which
            comes back as it was saved.
        weights: `"pretrained"` fetches the name's published checkpoint; None initialises freshly;
            otherwise a local file or folder (.safetensors, .bin, .pth, .npz, .keras), `"hf://org/name"`
            or `"hf://org/name/file"`. timm's, Google's, Hugging Face's and the authors' own tensor
            names are told apart.
        num_classes: number of logits; 0 gives pooled features. Where it differs from the checkpoint's,
            the classifier is new.
        image_size: side, or (height, width), in pixels. Position embeddings are resized as the
            numerics' code resizes them.
        in_chans: number of image channels; a first kernel for RGB is adapted as timm does it.
        labels: one name a class, or the name of a label set; sets `num_classes`.
        numerics: whose activation, epsilons and resize methods to follow: `"source"`, the code of the
            authors, or a port's, `"timm"` or `"huggingface"`, of those that `info` lists. When None, that of
            the checkpoint's publisher: `"source"` for Google's .npz names and those of CLIP's and DINOv2's
            authors, `"huggingface"` for transformers' of the same, else the catalogue's default,
            and where a config.json of transformers lies beside a ViT's or DeiT's weights, its
            `layer_norm_eps` and `hidden_act`. `load_report` tells.
        source: the checkpoint's tensor names: `"timm"`, `"npz"`, `"huggingface"` or `"official"`, as the
            family has them; recognised from the file when None.
        checkpoint_key: the entry of a torch training checkpoint to take, such as `"model_ema"`; None
            takes the trained weights, not their average.
        sha256: of the checkpoint file, 64 hexadecimal digits; another file is refused. Of the formats,
            only .npz and torch's zip files have checksums of their own: elsewhere, without this, a
            flipped byte of a weight is not seen. Files of the hub are compared with what it announces.
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
        if sha256 is not None:
            require_sha256(Path(name), sha256)
        return load_saved(name)
    card = catalogue.info(str(name))
    if weights == "pretrained" and mark(card.licence):
        warnings.warn(
            f"the weights of {card.name} are {marked(card.licence)}: {card.source_url}",
            stacklevel=2,
        )
    names = catalogue.labels(labels) if isinstance(labels, str) else labels
    if names is not None and num_classes not in (None, len(names)):
        raise UsageError(f"num_classes={num_classes}, but there are {len(names)} labels")
    overrides |= {"image_size": image_size, "in_chans": in_chans}
    overrides["num_classes"] = num_classes if names is None else len(names)
    changes = {key: value for key, value in overrides.items() if value is not None}
    if weights is None:
        config, _ = _configure(card, numerics, changes, names)
        return build_model(builder_of(card.builder), config, dtype=dtype)
    file, origin = _locate(weights, card, sha256)
    with _open_weights(file, checkpoint_key) as checkpoint:
        layout_name, layout = _layout(card, checkpoint, source)
        settings = {} if numerics else read_settings(_beside(file), layout.settings)
        if layout.numerics in card.numerics_arguments:
            numerics = numerics or layout.numerics
        config, patch_resize = _configure(card, numerics, {**settings, **changes}, names)
        config = dataclasses.replace(config, weights=origin)
        # What is read next needs no initial values; a new head, and what partial=True leaves, does.
        new_layers = partial or config.arguments.get("representation_size")
        with skip_initialization(keep=None if new_layers else ("head",)):
            model = build_model(builder_of(card.builder), config, dtype=dtype)
        table = layout.for_model(variable.path for variable in model.weights)
        report = fill(
            model.weights,
            table.unfolded(checkpoint),
            table,
            _geometry(model, card, patch_resize),
            config.arguments,
            source=origin,
            layout_name=layout_name,
            new_head="num_classes" in changes,
            partial=partial,
        )
    model.load_report = dataclasses.replace(
        report, numerics=config.numerics, settings=tuple(settings.items())
    )
    return model


def load_saved(path: str | os.PathLike[str]) -> Any:
    """A model from a `.keras` file, as it was saved.

    Raises:
        CheckpointError: if there is no such file, it is damaged or of classes that are not known, or a
            weight is not finite.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no file {path}")
    arrays = check_keras_file(Path(path))
    try:
        model = keras.saving.load_model(path)
    except KerasVitError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # Keras raises whatever the damaged part made it raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a whole .keras file: {reason}") from error
    # Keras leaves arrays alone that no layer asks for.
    if isinstance(model, VisionModel) and arrays > len(model.variables):
        raise CheckpointError(
            f"{path}: damaged: it has {arrays} arrays for the model's {len(model.variables)}"
        )
    for variable in model.weights:
        check_finite(str(path), variable.path, _read(variable))
    return model


def _configure(
    card: ModelCard,
    numerics: str | None,
    changes: Mapping[str, Any],
    labels: Sequence[str] | None,
) -> tuple[ModelConfig, str | None]:
    """What the model will be, and how its patch kernel is resized."""
    arguments = merge_arguments(builder_of(card.builder), card.arguments_for(numerics), changes)
    patch_resize = arguments.pop("patch_resize", None)
    if labels is None and card.labels and arguments["num_classes"] == card.num_classes:
        labels = catalogue.labels(card.labels)
    config = ModelConfig(
        name=card.name,
        family=card.family,
        arguments=arguments,
        preprocessing=_preprocessing(card.preprocessing, arguments),
        numerics=numerics or card.numerics,
        labels=None if labels is None else tuple(labels),
    )
    return config, patch_resize


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


def _locate(
    weights: str | os.PathLike[str], card: ModelCard, sha256: str | None
) -> tuple[Path, str]:
    """The checkpoint as a local path, verified, and what to call it."""
    text = os.fspath(weights)
    sha256 = None if sha256 is None else lower_sha256(sha256)
    if text == "pretrained":
        if card.hub_id is None:
            where = f" (they are at {card.source_url})" if card.source_url else ""
            raise CheckpointError(
                f'{card.name} has no weights on the hub{where}: pass weights=None, or weights="FILE"'
            )
        files = [file for file in (card.hub_file, *_HUB_FILES) if file]
        path = fetch(card.hub_id, list(dict.fromkeys(files)), sha256=sha256 or card.sha256)
        return path, f"hf://{card.hub_id}"
    if text.startswith("hf://"):
        organisation, _, rest = text.removeprefix("hf://").partition("/")
        repository, _, file = rest.partition("/")
        repository = f"{organisation}/{repository}"
        path = fetch(repository, [file] if file else _HUB_FILES, sha256=sha256)
        if not file:
            with contextlib.suppress(CheckpointError):  # not every repository has one
                fetch(repository, [CONFIG_FILE])
        return path, text
    if not Path(text).exists():
        raise CheckpointError(f'there is no file {text}; weights is a path, "pretrained", or None')
    if sha256 is not None:
        require_sha256(Path(text), sha256)
    return Path(text), Path(text).name


def _beside(file: Path) -> Path:
    """The config.json that belongs to a checkpoint, if there is one."""
    return file / CONFIG_FILE if file.is_dir() else file.with_name(CONFIG_FILE)


def _open_weights(file: Path, key: str | None) -> Checkpoint:
    """A checkpoint; of a .keras file, the saved model's variables by their paths."""
    if file.suffix != ".keras":
        return open_checkpoint(file, key=key)
    tensors = {
        variable.path: StoredTensor(
            tuple(variable.shape),
            np.dtype(np.float32 if variable.dtype == "bfloat16" else variable.dtype),
            functools.partial(_read, variable),
        )
        for variable in load_saved(file).weights
    }
    return Checkpoint(file, "keras", tensors, {}, (), lambda: None)


def _read(variable: Any) -> Array:
    return as_real(keras.ops.convert_to_numpy(variable))


def _layout(card: ModelCard, checkpoint: Checkpoint, source: str | None) -> tuple[str, Layout]:
    """The layout that knows most of the checkpoint's names, or the one that was asked for."""
    layouts = layouts_of(card.name_map)
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
