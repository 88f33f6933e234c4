"""`save_weights`: a model's weights under the tensor names of another library."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_vit import catalogue
from keras_vit.errors import UsageError
from keras_vit.models.model import VisionModel
from keras_vit.weights.checkpoint import as_real
from keras_vit.weights.files import write_npz, write_safetensors
from keras_vit.weights.huggingface import CONFIG_FILE, write_config
from keras_vit.weights.name_map import Layout, layouts_of

# The file name that transformers looks for, in a folder with a config.json.
_PRETRAINED_FILE = "model.safetensors"


def save_weights(
    model: VisionModel,
    path: str | os.PathLike[str],
    layout: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model's weights under another library's tensor names.

    Args:
        model: a model of `load`. 16-bit bfloat weights are written as float32.
        path: the file: `.npz` for Google's layout, `.safetensors` for all others.
        layout: whose names; the family's native one of that suffix when None:

            * `"timm"`: `create_model(...).load_state_dict` of timm takes it strictly.
            * `"huggingface"`: a file called `model.safetensors` gets a `config.json` beside it, and
              then `from_pretrained` of transformers takes the folder.
            * `"npz"`: google-research/vision_transformer takes it (`checkpoint.load`), and so does timm.
              That code computes with tanh GELU, as a model of `numerics="source"` does.
            * `"official"`: the authors' own names, where they are others.

            BatchNorm's counters of batches, which Keras does not keep, are written as 0.
        overwrite: whether existing files may be replaced.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown layout, another suffix, an existing file, or a model that the other
            library has no names or no class for, such as a quantised one.
        CheckpointError: if the file cannot be written.
    """
    path = Path(path)
    if model.config is None:
        raise UsageError(
            "this model has no configuration; only a model of keras_vit.load has names"
        )
    layouts = layouts_of(catalogue.info(model.config.name).name_map)
    layout = layout or _native(layouts, path)
    if layout not in layouts:
        raise UsageError(f"layout must be one of {', '.join(layouts)}. Received: {layout!r}")
    table = layouts[layout].for_model(variable.path for variable in model.weights)
    if path.suffix != table.suffix:
        raise UsageError(f"{layout} weights are written as {table.suffix}. Received: {path}")
    table.require(model.config.arguments, layout)
    config = path.with_name(CONFIG_FILE) if _has_config(table, path) else None
    for file in (path, config):
        if file is not None and file.exists() and not overwrite:
            raise UsageError(f"{file} exists; pass overwrite=True to replace it")
    tensors = _tensors(model, table, layout)
    if table.suffix == ".npz":
        write_npz(path, tensors)
    else:
        write_safetensors(path, tensors, {"format": "pt"})
    if config is not None and table.config is not None:
        write_config(config, table.config(model.config.arguments, model.config.labels))
    return path


def _native(layouts: Mapping[str, Layout], path: Path) -> str:
    """The first layout that is written in files of this kind."""
    suffixes = {name: layout.suffix for name, layout in layouts.items()}
    for name, suffix in suffixes.items():
        if path.suffix == suffix:
            return name
    kinds = " or ".join(dict.fromkeys(suffixes.values()))
    raise UsageError(f"weights are written as {kinds}. Received: {path}")


def _has_config(table: Layout, path: Path) -> bool:
    return table.config is not None and path.name == _PRETRAINED_FILE


def _tensors(model: VisionModel, table: Layout, layout: str) -> dict[str, Any]:
    """All tensors by their names in the layout."""
    assert model.config is not None
    tensors: dict[str, Any] = {}
    for variable in model.weights:
        row = table.find(variable.path)
        if row is None:
            raise UsageError(f"{layout} has no name for {variable.path}; export the model instead")
        array = as_real(keras.ops.convert_to_numpy(variable))
        parts = table.from_keras(row, array, model.config.arguments)
        tensors.update(zip(row.names, parts, strict=True))
        tensors.update(table.constants_beside(variable.path))
    return tensors
