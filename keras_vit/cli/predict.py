"""`keras-vit predict`: what a model sees in image files."""

import click

from keras_vit.cli.options import model_argument, weights_option, with_weights
from keras_vit.cli.output import json_option, print_json, working


@click.command("predict")
@model_argument
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Classes an image."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@weights_option
@json_option
def command(
    model: str,
    images: tuple[str, ...],
    top: int,
    batch_size: int,
    weights: str | None,
    as_json: bool,
) -> None:
    """Name the most probable classes of each IMAGE, a file or a folder of images.

    MODEL is a .keras, .tflite or .onnx file, a SavedModel folder or a catalogue name. Images are
    prepared as the model wants them, and its own labels are used.
    """
    from keras_vit.data import image_files
    from keras_vit.training import predict

    files = image_files(images)
    with working(f"Asking {model}"):
        answers = predict(with_weights(model, weights), files, top=top, batch_size=batch_size)
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
