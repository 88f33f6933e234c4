"""`keras-vit explain`: what a model looks at, drawn."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import (
    Names,
    force_option,
    known_model,
    model_argument,
    model_options,
    weights_option,
)
from keras_vit.cli.output import bar, json_option, note, print_json, working
from keras_vit.cli.running import in_our_terms
from keras_vit.errors import UsageError
from keras_vit.explain.kinds import KINDS, require_kinds, require_place

if TYPE_CHECKING:
    from keras_vit.explain.reporting import FiguresReport


class _Patch(click.ParamType):
    """`7,3`: row and column, from 0."""

    name = "ROW,COLUMN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+),(\d+)", value)
        if found is None:
            self.fail(f"{value!r} is not a patch such as 7,3 (row and column, from 0)")
        return int(found[1]), int(found[2])


def _known_or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else known_model(ctx, param, value)


@click.command("explain")
@model_argument
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--output", "-o", required=True, metavar="FOLDER", help="Made if it is not there.")
@click.option(
    "--what",
    type=Names(),
    help=f"Of {', '.join(KINDS)}. [default: all but similarity]",
)
@click.option(
    "--compare",
    metavar="MODEL",
    callback=_known_or_none,
    help="Another model, as in --compare A B IMAGE...: how alike the layers of two are.",
)
@click.option(
    "--block",
    multiple=True,
    metavar="N|NAME",
    help="An attention block, -1 the last, of attention and pca; repeatable. [default: all]",
)
@click.option(
    "--head",
    type=click.IntRange(0),
    multiple=True,
    metavar="N",
    help="A head, of attention; repeatable. [default: all]",
)
@click.option(
    "--patch",
    type=_Patch(),
    help="The patch that looks, of attention and rollouts. [default: the class token]",
)
@click.option(
    "--class",
    "class_name",
    metavar="LABEL|N",
    help="The class asked about, of gradcam and gradient-rollout. [default: the model's answer]",
)
@click.option(
    "--theme",
    type=click.Choice(["light", "dark"]),
    default="light",
    show_default=True,
    help="Of the PNG files; SVG files and the page are as the reader's screen is.",
)
@weights_option
@model_options
@force_option
@json_option
def command(
    model: str,
    images: tuple[str, ...],
    output: str,
    what: tuple[str, ...] | None,
    compare: str | None,
    block: tuple[str, ...],
    head: tuple[int, ...],
    weights: str | None,
    num_classes: int | None,
    image_size: tuple[int, int] | None,
    in_chans: int | None,
    assignments: Sequence[tuple[str, Any]],
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Draw what MODEL looks at in each IMAGE, a file or a folder: PNG and SVG files and one HTML page.

    MODEL is a .keras, .tflite or .onnx file, a SavedModel or run folder or a catalogue name. An exported
    file needs attention among its --outputs. What makes no sense for MODEL is left out and named.
    """
    require_kinds(what, compare is not None)
    require_place(Path(output), force)
    from keras_vit.data import image_files

    files = image_files(images)
    with working(f"Loading {model}"):
        from keras_vit.explain.reporting import figures

        changes = {"num_classes": num_classes, "in_chans": in_chans, **dict(assignments)}
        opened = _opened(model, weights, image_size, changes)
        other = _compared(compare, weights)
    with bar(f"Explaining {model}") as advance:
        report = figures(
            opened,
            files,
            output,
            what=what,
            compare=other,
            block=block or None,
            head=head or None,
            image_size=image_size if isinstance(opened, str) else None,
            overwrite=force,
            progress=advance,
            **arguments,
        )
    for name, reason in report.left_out.items():
        note(f"left out: {name}: {in_our_terms(reason)}")
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _opened(
    model: str,
    weights: str | None,
    image_size: tuple[int, int] | None,
    changes: dict[str, Any],
) -> Any:
    """A catalogue name with what is asked of it; a file as it is."""
    asked = {name: value for name, value in changes.items() if value is not None}
    if not Path(model).exists():
        from keras_vit.loading import load

        return load(model, weights=weights, image_size=image_size, **asked)
    if asked or weights != "pretrained":
        changed = ", ".join(asked) or "its weights"
        raise UsageError(
            f"{model} comes as it was saved; to change {changed}, give the model's name and "
            f"--weights {model}"
        )
    return model


def _compared(model: str | None, weights: str | None) -> Any:
    """The other model: of a name the weights of the catalogue, or none if the first has none."""
    if model is None or Path(model).exists() or weights is not None:
        return model
    from keras_vit.loading import load

    return load(model, weights=None)


def _print(report: "FiguresReport") -> None:
    for figure in report.figures:
        click.echo(f"{figure.png}, {figure.svg}: {figure.title}")
        if figure.note:
            note(f"note: {figure.what}: {figure.note}")
    click.echo(report.page)
