"""What an export is asked to do, checked for sense before anything is begun."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import UsageError
from keras_vit.export import handover
from keras_vit.export.formats import resolve_format
from keras_vit.export.front import build_front
from keras_vit.export.interface import (
    configuration,
    image_shape,
    named,
    output_names,
)
from keras_vit.export.onnx_options import OnnxOptions, stored_shape
from keras_vit.export.outputs import with_outputs
from keras_vit.export.precision import Precision, plan_precision, require_precision
from keras_vit.export.report import Tensor
from keras_vit.export.serving_options import ServingOptions, version_path
from keras_vit.export.staging import require_free

_INPUT_TYPES = ("uint8", "float32")
_DRAWN = 224  # the side of the first test images of a model of any size without a configuration


@dataclass(frozen=True)
class Plan:
    """An export that has been checked for sense and not begun.

    Attributes:
        model: as it was given. path, format: of the artifact. batch: None where it is free.
        images: what the artifact takes, as (batch, height, width, channels).
        seen: (height, width) of the images that the model sees.
        mode: `"none"`, `"normalize"`, `"baked"` or `"layer"`. front: runs before the model, or None.
        own: what the model's own outputs are called. wanted: see `with_outputs`.
        gives: the artifact's outputs.
        config: of the model, or None. labels: one a class, or None. options: of an ONNX file.
        endpoints, xla: of a SavedModel.
        precision: of the artifact.
    """

    model: keras.Model
    path: Path
    format: str
    batch: int | None
    images: Tensor
    seen: tuple[int, int]
    mode: str
    front: keras.Model | None
    own: tuple[str, ...]
    wanted: tuple[str, ...] | None
    gives: tuple[Tensor, ...]
    config: ModelConfig | None
    labels: tuple[str, ...] | None
    options: OnnxOptions
    endpoints: tuple[str, ...]
    xla: bool
    precision: Precision

    @property
    def input(self) -> Tensor:
        """The artifact's input, in its own layout."""
        shape = stored_shape(self.images.shape, self.options.layout)
        return dataclasses.replace(self.images, shape=shape)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the artifact's outputs."""
        return tuple(tensor.name for tensor in self.gives)

    @property
    def tested(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that it is tested on first."""
        if self.images.shape[1] is not None:
            return sides(self.images)
        height, width = self.seen
        if self.mode == "baked":
            height, width = height * 5 // 4 + 1, width * 3 // 2
        return height, width, self.images.shape[3] or 0

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the checkpoint wants done to images, at the size that the model sees; None if not known."""
        return _preprocessing(self.config, self.seen)


def plan_export(
    model: keras.Model,
    path: Path,
    format: str | None,
    batch: int | str | None,
    preprocessing: str | keras.layers.Layer,
    input_dtype: str | None,
    image_size: tuple[int, int] | str | None,
    input_size: tuple[int, int] | str | None,
    outputs: Sequence[str] | None,
    labels: Sequence[str] | None,
    options: OnnxOptions,
    serving: ServingOptions,
    precision: str,
    calibration: Any,
    target_agreement: float,
    overwrite: bool,
) -> Plan:
    """Check every argument; see `export_model`."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"model has to be a keras.Model, not {type(model).__name__}")
    path = Path(os.path.abspath(path))  # noqa: PTH100 keeps a symbolic link's own name
    resolved = resolve_format(path, format)
    options.require_valid(resolved)
    serving.require_valid(resolved)
    mode = _mode(preprocessing)
    require_precision(precision, resolved, mode, calibration, target_agreement)
    if serving.versioned:
        path = version_path(path, serving.versioned, overwrite)
    if path.parent.is_dir() or not serving.versioned:
        require_free(path, resolved, overwrite)
    handover.require_floating(handover.policies(model))
    config = configuration(model)
    size = _batch(batch, resolved)
    images = _images(model, config, mode, size, input_dtype, image_size)
    seen = sides(images)[:2]
    values = _preprocessing(config, seen)
    if image_size == "dynamic":
        _require_any_size(model, resolved, mode, precision)
        images = dataclasses.replace(images, shape=(size, None, None, images.shape[-1]))
    if mode == "baked":
        images = dataclasses.replace(
            images, shape=(size, *_input_size(input_size, resolved), images.shape[-1])
        )
    elif input_size is not None:
        raise UsageError('input_size is of preprocessing="baked"; else image_size is')
    front = build_front(preprocessing, values, images.shape[1:], images.dtype)
    if front is not None:
        _require_fit(front, model)
    own = output_names(model)
    wanted = None if outputs is None else tuple(outputs)
    served = with_outputs(model, own, outputs)
    return Plan(
        model=model,
        path=path,
        format=resolved,
        batch=size,
        images=images,
        seen=seen,
        mode=mode,
        front=front,
        own=own,
        wanted=wanted,
        gives=_tensors(served, own, size, (images if front is None else front.output).shape[1:3]),
        config=config,
        labels=_labels(model, labels, config, own),
        options=options,
        endpoints=serving.chosen(
            resolved, values, image_shape(model)[2], mode, model.inputs[0].dtype
        ),
        xla=serving.xla,
        precision=plan_precision(
            precision, calibration, target_agreement, images.shape[1:], mode, values
        ),
    )


def _tensors(
    model: keras.Model, names: Sequence[str], batch: int | None, size: Sequence[int | None]
) -> tuple[Tensor, ...]:
    """What the artifact gives for images of this size."""
    (images,) = model.inputs
    spec = keras.KerasTensor((batch, *size, images.shape[-1]), images.dtype)
    given = named(model.compute_output_spec(spec), names)
    return tuple(
        Tensor(name, tuple(value.shape), "float32" if "float" in value.dtype else value.dtype)
        for name, value in given.items()
    )


def _preprocessing(config: ModelConfig | None, seen: tuple[int, int]) -> Preprocessing | None:
    """What is done to images for a model that sees them so large."""
    return dataclasses.replace(config.preprocessing, image_size=seen) if config else None


def _input_size(size: tuple[int, int] | str | None, format: str) -> tuple[int | None, int | None]:
    """(height, width) of the images that are resized inside; None for any."""
    if size is None or size == "any":
        if format == "savedmodel":
            return None, None
        raise UsageError(
            'preprocessing="baked" needs input_size=(height, width), the size of the images before the '
            f"resize; {format} cannot resize images of any size as Pillow does"
        )
    if not (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    ):
        raise UsageError(f'input_size has to be (height, width) or "any", not {size!r}')
    return size[0], size[1]


def _mode(preprocessing: str | keras.layers.Layer) -> str:
    if isinstance(preprocessing, keras.layers.Layer):
        return "layer"
    if preprocessing in ("none", "normalize", "baked"):
        return preprocessing
    raise UsageError(
        'preprocessing has to be "none", "normalize", "baked" or a Keras layer, not '
        f"{preprocessing!r}"
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
    image_size: tuple[int, int] | str | None,
) -> Tensor:
    """The input that the artifact will have."""
    height, width, channels = image_shape(model)
    own = (height, width)
    if image_size in (None, "dynamic"):
        size: Any = config.preprocessing.image_size if config and None in own else own
    elif isinstance(image_size, str):
        raise UsageError(f'image_size has to be (height, width) or "dynamic", not {image_size!r}')
    else:
        size = image_size
    if None in size and image_size == "dynamic":
        size = tuple(side or _DRAWN for side in size)
    if None in size:
        raise UsageError(
            'the model takes images of any size; pass image_size=(height, width) or "dynamic"'
        )
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


def _require_any_size(model: keras.Model, format: str, mode: str, precision: str) -> None:
    """Refuse free height and width where something wants them fixed."""
    if image_shape(model)[:2] != (None, None):
        raise UsageError(
            f'image_size="dynamic" needs a model of images of any size, and this one takes '
            f"{model.inputs[0].shape[1]} x {model.inputs[0].shape[2]}; load it with "
            "dynamic_image_size=True"
        )
    if format == "tflite":
        raise UsageError('image_size="dynamic" is of ONNX files and SavedModels, not of tflite')
    if mode not in ("none", "normalize"):
        raise UsageError(
            f'image_size="dynamic" does not go with preprocessing="{mode}", which gives one size'
        )
    if precision != "float32":
        raise UsageError(f'image_size="dynamic" does not go with precision="{precision}"')


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
    """(height, width, channels) of an artifact's input, where they are all fixed."""
    height, width, channels = images.shape[1:]
    assert height and width and channels
    return height, width, channels
