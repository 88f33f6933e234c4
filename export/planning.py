"""What an export is asked to do, checked for sense before anything is begun."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_vit.config import ModelConfig
from keras_vit.errors import UsageError
from keras_vit.export import handover
from keras_vit.export.formats import resolve_format
from keras_vit.export.front import build_front
from keras_vit.export.interface import configuration, image_shape, output_names
from keras_vit.export.onnx_options import OnnxOptions, stored_shape
from keras_vit.export.report import Tensor
from keras_vit.export.staging import require_free

_INPUT_TYPES = ("uint8", "float32")


@dataclass(frozen=True)
class Plan:
    """An export that has been checked for sense and not begun."""

    model: keras.Model
    path: Path
    format: str
    batch: int | None
    images: Tensor
    mode: str
    front: keras.Model | None
    outputs: tuple[str, ...]
    config: ModelConfig | None
    labels: tuple[str, ...] | None
    options: OnnxOptions

    @property
    def input(self) -> Tensor:
        """The artifact's input, in its own layout."""
        shape = stored_shape(self.images.shape, self.options.layout)
        return dataclasses.replace(self.images, shape=shape)


def plan_export(
    model: keras.Model,
    path: Path,
    format: str | None,
    batch: int | str | None,
    preprocessing: str | keras.layers.Layer,
    input_dtype: str | None,
    image_size: tuple[int, int] | None,
    labels: Sequence[str] | None,
    options: OnnxOptions,
    overwrite: bool,
) -> Plan:
    """Check every argument; see `export_model`."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"model has to be a keras.Model, not {type(model).__name__}")
    path = Path(os.path.abspath(path))  # noqa: PTH100 keeps a symbolic link's own name
    resolved = resolve_format(path, format)
    options.require_valid(resolved)
    require_free(path, resolved, overwrite)
    handover.require_floating(handover.policies(model))
    config = configuration(model)
    mode = _mode(preprocessing)
    size = _batch(batch, resolved)
    images = _images(model, config, mode, size, input_dtype, image_size)
    values = config.preprocessing if config else None
    front = build_front(preprocessing, values, sides(images), images.dtype)
    if front is not None:
        _require_fit(front, model)
    outputs = output_names(model)
    return Plan(
        model=model,
        path=path,
        format=resolved,
        batch=size,
        images=images,
        mode=mode,
        front=front,
        outputs=outputs,
        config=config,
        labels=_labels(model, labels, config, outputs),
        options=options,
    )


def _mode(preprocessing: str | keras.layers.Layer) -> str:
    if isinstance(preprocessing, keras.layers.Layer):
        return "layer"
    if preprocessing in ("none", "normalize"):
        return preprocessing
    raise UsageError(
        f'preprocessing has to be "none", "normalize" or a Keras layer, not {preprocessing!r}'
    )


def _batch(batch: int | str | None, format: str) -> int | None:
    """The fixed batch size, or None for a free one."""
    if batch is None:
        return 1 if format == "tflite" else None
    if batch == "dynamic":
        return None
    if isinstance(batch, int) and not isinstance(batch, bool) and batch > 0:
        return batch
    raise UsageError(f'batch has to be a positive number or "dynamic", not {batch!r}')


def _images(
    model: keras.Model,
    config: ModelConfig | None,
    mode: str,
    batch: int | None,
    input_dtype: str | None,
    image_size: tuple[int, int] | None,
) -> Tensor:
    """The input that the artifact will have."""
    height, width, channels = image_shape(model)
    own = (height, width)
    size = image_size or (config.preprocessing.image_size if config and None in own else own)
    if None in size:
        raise UsageError("the model takes images of any size; pass image_size=(height, width)")
    if mode != "layer" and any(
        side not in (None, given) for side, given in zip(own, size, strict=True)
    ):
        raise UsageError(f"the model takes images of {height} x {width}, not {size[0]} x {size[1]}")
    if mode == "none":
        dtype = model.inputs[0].dtype
        dtype = "float32" if "float" in dtype else dtype
        if input_dtype not in (None, dtype):
            raise UsageError(
                f'input_dtype={input_dtype!r} needs preprocessing="normalize" or a layer'
            )
    else:
        dtype = input_dtype or "uint8"
        if dtype not in _INPUT_TYPES:
            raise UsageError(f"input_dtype has to be one of {_INPUT_TYPES}, not {dtype!r}")
    return Tensor("images", (batch, *size, channels), dtype)


def _require_fit(front: keras.Model, model: keras.Model) -> None:
    """The layer has to give what the model takes."""
    given, wanted = tuple(front.output.shape[1:]), tuple(model.inputs[0].shape[1:])
    fits = len(given) == len(wanted) and all(
        want in (None, have) for have, want in zip(given, wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"the preprocessing layer gives images of {given}, the model takes {wanted}"
        )


def _labels(
    model: keras.Model,
    labels: Sequence[str] | None,
    config: ModelConfig | None,
    outputs: tuple[str, ...],
) -> tuple[str, ...] | None:
    if labels is None:
        return config.labels if config else None
    classes = model.outputs[0].shape[-1]
    if outputs != ("logits",) or len(labels) != classes:
        raise UsageError(
            f"{len(labels)} labels for a model with {classes} outputs called {outputs}"
        )
    return tuple(str(label) for label in labels)


def sides(images: Tensor) -> tuple[int, int, int]:
    """(height, width, channels) of an artifact's input, which are all fixed."""
    height, width, channels = images.shape[1:]
    assert height and width and channels
    return height, width, channels
