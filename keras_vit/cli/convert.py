"""`keras-vit convert`: a checkpoint of any library to a file of Keras or another library."""

from collections.abc import Sequence
from typing import Any

import click

from keras_vit.cli.options import force_option, labels_option, model_options
from keras_vit.cli.output import file_size, json_option, print_json, working


@click.command("convert")
@click.argument("checkpoint")
@click.argument("output")
@click.option("--model", metavar="NAME", help="The model that the checkpoint is for.")
@click.option(
    "--layout",
    metavar="NAME",
    help="Tensor names of the output: timm, huggingface, npz, official [default: the native ones].",
)
@model_options
@labels_option
@click.option("--numerics", metavar="WHOSE", help="Whose arithmetic: timm, source, huggingface.")
@click.option("--source", metavar="NAME", help="Whose tensor names the checkpoint has.")
@click.option(
    "--checkpoint-key", metavar="NAME", help="Entry of a torch training checkpoint: model_ema."
)
@click.option("--sha256", metavar="HEX", help="Of CHECKPOINT; another file is refused.")
@click.option("--partial", is_flag=True, help="Load what fits; the rest is initialised.")
@force_option
@json_option
def command(
    checkpoint: str,
    output: str,
    model: str | None,
    assignments: Sequence[tuple[str, Any]],
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Rewrite CHECKPOINT as OUTPUT, a .keras, .safetensors or .npz file.

    CHECKPOINT is a .safetensors, .bin, .pth, .npz or .keras file, hf://ORG/NAME, or 'pretrained' for
    the weights that are published for --model. What became of each tensor is printed. Beside an OUTPUT
    called model.safetensors in Hugging Face's layout lies the config.json that transformers wants.
    """
    from keras_vit.converting import convert

    with working(f"Converting {checkpoint}"):
        report = convert(
            checkpoint, output, model, overwrite=force, **arguments, **dict(assignments)
        )
    if as_json:
        print_json(report.to_dict())
        return
    if report.load is not None:
        click.echo(str(report.load))
    click.echo(f"{report.path}: {report.name}, {report.layout} names, {file_size(report.size)}")
