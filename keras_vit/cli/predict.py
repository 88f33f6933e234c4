"""`keras-vit predict`: what a model sees in image files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from keras_vit.bulk.outputs import require_table
from keras_vit.cli.options import (
    Shard,
    force_option,
    model_argument,
    weights_option,
    with_weights,
)
from keras_vit.cli.output import bar, json_option, print_json, working
from keras_vit.errors import UsageError


@click.command("predict")
@model_argument
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
@click.option(
    "--input",
    "source",
    metavar="FOLDER|TFRECORD",
    help="In place of IMAGE: a folder, or TFRecord files by a pattern (tfrecord:FOLDER/train-*).",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    help="A .parquet, .csv or .jsonl table to write, one row an image. Repeat a killed command to go on.",
)
@click.option(
    "--shard",
    type=Shard(),
    default="0/1",
    metavar="I/N",
    help="Of N workers this is number I, from 0: its share of the images, in a file of its own.",
)
@click.option(
    "--on-corrupt",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="With --output: skip notes damaged images in the column error.",
)
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Classes an image."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@weights_option
@force_option
@json_option
def command(
    model: str,
    images: tuple[str, ...],
    source: str | None,
    output: str | None,
    shard: tuple[int, int],
    on_corrupt: str,
    top: int,
    batch_size: int,
    weights: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Name the most probable classes of each IMAGE, a file or a folder of images.

    MODEL is a .keras, .tflite or .onnx file, a SavedModel folder or a catalogue name. Images are
    prepared as the model wants them, and its own labels are used. With --output they go into a table,
    in bulk: whenever the command is killed, the same command goes on.
    """
    if bool(images) == bool(source):
        raise UsageError("give images, or --input FOLDER, but not both")
    options: dict[str, Any] = {"top": top, "batch_size": batch_size}
    if output is None:
        if source or shard != (0, 1) or force or on_corrupt != "fail":
            raise UsageError(
                "--input, --shard, --on-corrupt and --force are of a table: give --output"
            )
        _show(model, images, weights, as_json, options)
        return
    require_table(Path(output), shard, force)
    with working(f"Loading {model}"):
        from keras_vit.training import predict

        opened = with_weights(model, weights)
    with bar(f"Asking {model}") as advance:
        report = predict(
            opened,
            [source] if source else images,
            output=output,
            shard=shard,
            on_corrupt=on_corrupt,
            overwrite=force,
            progress=advance,
            **options,
        )
    if as_json:
        print_json(report.to_dict())
        return
    known = f", {report.found_done} of them found done" if report.found_done else ""
    wrong = f", {report.errors} damaged images" if report.errors else ""
    click.echo(f"{report.path}: {report.count} rows{known}{wrong}, {report.seconds:.0f} s")


def _show(
    model: str,
    images: Sequence[str],
    weights: str | None,
    as_json: bool,
    options: Mapping[str, Any],
) -> None:
    """Print the answers."""
    from keras_vit.data import image_files
    from keras_vit.training import predict

    files = image_files(images)
    with working(f"Asking {model}"):
        answers = predict(with_weights(model, weights), files, **options)
    if as_json:
        print_json(
            [
                {
                    "image": str(file),
                    "classes": [{"label": label, "probability": p} for label, p in classes],
                }
                for file, classes in zip(files, answers, strict=True)
            ]
        )
        return
    for file, classes in zip(files, answers, strict=True):
        click.echo(file)
        for label, probability in classes:
            click.echo(f"  {probability:7.2%}  {label}")
