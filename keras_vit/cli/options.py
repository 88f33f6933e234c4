"""Kinds of arguments, and options that several commands share."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from keras_vit import catalogue
from keras_vit.errors import UsageError


class ImageSize(click.ParamType):
    """`224`, or `224x320` for (height, width)."""

    name = "SIZE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", value)
        if found is None:
            self.fail(f"{value!r} is not a size such as 224, or 224x320 for height x width")
        height, width = found.groups()
        return int(height), int(width or height)


class InputSize(ImageSize):
    """An `ImageSize`, or `any`."""

    name = "SIZE|any"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "any" else super().convert(value, param, ctx)


class Names(click.ParamType):
    """`logits,top5`."""

    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} is not a list of names such as logits,top5")
        return names


class Counts(click.ParamType):
    """`1,5,10,25`."""

    name = "N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is not a list of positive numbers such as 1,5,10,25")
        return tuple(map(int, parts))


class Batch(click.ParamType):
    """A positive number, or `dynamic`."""

    name = "N|dynamic"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == "dynamic" or isinstance(value, int):
            return value
        if not value.isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is not a positive number or 'dynamic'")
        return int(value)


class Shard(click.ParamType):
    """`1/4`: number 1, counted from 0, of 4 workers."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)/(\d+)", value)
        if found is None or not int(found[1]) < int(found[2]):
            self.fail(f"{value!r} is not a worker such as 0/4, 1/4, 2/4 or 3/4")
        return int(found[1]), int(found[2])


class Assignment(click.ParamType):
    """`key=value`, the value in JSON or as it stands: `depth=2`, `global_pool=avg`."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key.isidentifier():
            self.fail(f"{value!r} is not of the form key=value")
        return key, _value(text)


_MODEL_SUFFIXES = (".keras", ".tflite", ".onnx")
_WORDS = {"None": None, "none": None, "True": True, "False": False}


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def known_model(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse what is no file and no name, before Keras takes seconds to import."""
    if not Path(value).exists():
        if Path(value).suffix in _MODEL_SUFFIXES:
            raise UsageError(f"there is no file {value}")
        catalogue.info(value)
    return value


def _known_models(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(known_model(ctx, param, value) for value in values)


def _none_or(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value == "none" else value


def _labels(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | str | None:
    """The lines of a file, or the name of a label set."""
    if value is None or not Path(value).is_file():
        return value
    try:
        return tuple(Path(value).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise click.BadParameter(f"{value} is not a text file") from None


model_argument = click.argument("model", callback=known_model)
models_argument = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, callback=_known_models
)
weights_option = click.option(
    "--weights",
    default="pretrained",
    show_default=True,
    metavar="pretrained|none|FILE",
    callback=_none_or,
    help="Of a catalogue name: its published weights, a fresh initialisation, a file, or hf://ORG/NAME.",
)
labels_option = click.option(
    "--labels", metavar="FILE", callback=_labels, help="Class names, one a line."
)
force_option = click.option("--force", is_flag=True, help="Replace what exists.")


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where labelled images come from, as `keras_vit.data.load` has them."""
    options: Sequence[Callable[..., Any]] = (
        click.option(
            "--data",
            required=True,
            metavar="DATA",
            help="digits, mnist5k, a folder of class folders (perhaps in train/ and val/), tfds:NAME, "
            "TFRecord files, a .csv or an .npz file.",
        ),
        click.option(
            "--fraction",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            default=0.2,
            show_default=True,
            metavar="X",
            help="Share held out for validation, of data without splits of its own.",
        ),
        click.option(
            "--on-corrupt",
            type=click.Choice(["fail", "skip"]),
            default="fail",
            show_default=True,
            help="What to do about damaged image files.",
        ),
    )
    return _with(options, command)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """More of them, for data that do not know or have what they need."""
    options: Sequence[Callable[..., Any]] = (
        click.option(
            "--classes", metavar="FILE", help="Class names of .csv and TFRecord files, one a line."
        ),
        click.option("--download", is_flag=True, help="Let TFDS download what is not there."),
    )
    return _with(options, command)


def with_weights(model: str, weights: str | None) -> Any:
    """A file as it is, for the Python function to open; a catalogue name with the weights asked for.

    Raises:
        UsageError: if other weights are asked for a file.
    """
    if not Path(model).exists():
        from keras_vit.loading import load

        return load(model, weights=weights)
    if weights != "pretrained":
        raise UsageError(f"{model} has its own weights: leave out --weights")
    return model


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `keras_vit.load` that say what to build."""
    options: Sequence[Callable[..., Any]] = (
        click.option(
            "--num-classes", type=click.IntRange(0), metavar="N", help="Number of classes."
        ),
        click.option("--image-size", type=ImageSize(), help="Side, or HEIGHTxWIDTH, in pixels."),
        click.option("--in-chans", type=click.IntRange(1), metavar="N", help="Number of channels."),
        click.option(
            "--set",
            "assignments",
            type=Assignment(),
            multiple=True,
            help="Any other argument of the model's builder, such as drop_path_rate=0.1; repeatable.",
        ),
    )
    return _with(options, command)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
