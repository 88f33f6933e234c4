"""`save_weights`: a model's weights under the tensor names of another library."""

import os
from pathlib import Path
from typing import Any

import keras

from keras_vit import catalogue
from keras_vit.config import ModelConfig
from keras_vit.errors import UsageError
from keras_vit.models.model import VisionModel
from keras_vit.outputs import require_free
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
            * `"npz"`: google-research/vision_transformer takes it (`checkpoint.load`), of FlexiViT and SigLIP
              big_vision, and so does timm.
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
    layout = choose_layout(model, path, layout)
    config = _config_of(model)
    table = layouts_of(catalogue.info(config.name).name_map)[layout]
    table = table.for_model(variable.path for variable in model.weights)
    if path.suffix != table.suffix:
        raise UsageError(f"{layout} weights are written as {table.suffix}. Received: {path.name}")
    table.require(config.arguments, layout)
    described = table.config is not None and path.name == _PRETRAINED_FILE
    for file in (path, path.with_name(CONFIG_FILE)) if described else (path,):
        require_free(file, overwrite)
    tensors = _tensors(model, table, layout)
    if table.suffix == ".npz":
        write_npz(path, tensors)
    else:
        write_safetensors(path, tensors, {"format": "pt"})
    if table.config is not None and described:
        contents = table.config(config.arguments, config.labels)
        write_config(path.with_name(CONFIG_FILE), contents)
    return path


def choose_layout(model: VisionModel, path: Path, layout: str | None) -> str:
    """The layout asked for, or the first of the model's family that is written in files like `path`.

    Raises:
        UsageError: for an unknown layout, or a suffix that no layout of the family has.
    """
    layouts = layouts_of(catalogue.info(_config_of(model).name).name_map)
    if layout is not None:
        if layout not in layouts:
            raise UsageError(f"layout must be one of {', '.join(layouts)}. Received: {layout!r}")
        return layout
    for name, table in layouts.items():
        if table.suffix == path.suffix:
            return name
    kinds = " or ".join(dict.fromkeys(table.suffix for table in layouts.values()))
    raise UsageError(f"weights are written as {kinds}. Received: {path}")


def _config_of(model: VisionModel) -> ModelConfig:
    if model.config is None:
        raise UsageError(
            "this model has no configuration; only a model of keras_vit.load has names"
        )
    return model.config


def _tensors(model: VisionModel, table: Layout, layout: str) -> dict[str, Any]:
    """All tensors by their names in the layout."""
    arguments = _config_of(model).arguments
    tensors: dict[str, Any] = {}
    for variable in model.weights:
        row = table.find(variable.path)
        if row is None:
            raise UsageError(f"{layout} has no name for {variable.path}; export the model instead")
        array = as_real(keras.ops.convert_to_numpy(variable))
        parts = table.from_keras(row, array, arguments)
        tensors.update(zip(row.names, parts, strict=True))
        tensors.update(table.constants_beside(variable.path))
    return table.folded(tensors)
