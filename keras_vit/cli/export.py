"""`keras-vit export`: a model to a verified SavedModel, TFLite or ONNX file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from keras_vit.cli.options import (
    Batch,
    InputSize,
    Names,
    force_option,
    labels_option,
    model_argument,
    model_options,
    weights_option,
)
from keras_vit.cli.output import (
    compared,
    file_size,
    json_option,
    note,
    print_fields,
    print_json,
    working,
)
from keras_vit.export import FORMATS, ExportReport
from keras_vit.export.formats import SUFFIXES
from keras_vit.export.onnx_options import ATTENTIONS, LAYOUTS, OPSETS, OnnxOptions
from keras_vit.export.precision import PRECISIONS, TARGET, Precision, require_precision
from keras_vit.export.serving_options import ServingOptions, version_path
from keras_vit.export.staging import require_free
from keras_vit.export.targets import TARGETS, settle, use_of
from keras_vit.outputs import require_folder

_ENDINGS = {format: suffix for suffix, format in SUFFIXES.items()} | {"savedmodel": "_savedmodel"}


@click.command("export")
@click.argument("format", type=click.Choice(list(FORMATS)), metavar="FORMAT")
@model_argument
@click.option(
    "--output", "-o", metavar="PATH", help="[default: named after MODEL, and beside a .keras file]"
)
@click.option(
    "--batch", type=Batch(), metavar="N|dynamic", help="[default: 1 for tflite, else dynamic]"
)
@click.option(
    "--preprocessing",
    type=click.Choice(["none", "normalize", "baked"]),
    default="normalize",
    show_default=True,
    help="normalize: the file takes RGB of 0 to 255; baked: it resizes and crops them, too; none: it "
    "takes normalised images.",
)
@click.option(
    "--input-size",
    type=InputSize(),
    help="Of the images before a baked resize. [default: any for savedmodel]",
)
@click.option(
    "--dynamic-size",
    is_flag=True,
    help="The file takes images of any height and width; onnx and savedmodel.",
)
@click.option(
    "--outputs",
    type=Names(),
    help="Of logits, probabilities, top5, features, attention, blocks_0. [default: what MODEL gives]",
)
@click.option(
    "--input-dtype", type=click.Choice(["uint8", "float32"]), help="Of images of 0 to 255."
)
@click.option(
    "--opset",
    type=click.Choice([str(opset) for opset in OPSETS]),
    help=f"Of an ONNX file's operators. [default: {OnnxOptions.opset}]",
)
@click.option(
    "--attention",
    type=click.Choice(ATTENTIONS),
    help="Of an ONNX file; operator: ONNX's own, from opset 23. "
    f"[default: {OnnxOptions.attention}]",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help=f"Of an ONNX file's images. [default: {OnnxOptions.layout}]",
)
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    help="Where the file shall run: it chooses what is left out, and refuses what it cannot run.",
)
@click.option(
    "--endpoints",
    type=Names(),
    help="Of a SavedModel, beside serving_default: images (uint8, any size), bytes (JPEG, PNG); or none. "
    "[default: both]",
)
@click.option("--xla", is_flag=True, help="Compile a SavedModel's model by XLA.")
@click.option(
    "--versioned",
    is_flag=True,
    help="Write the next version (PATH/1, PATH/2) of a SavedModel, as TF Serving reads it.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=Precision.name,
    show_default=True,
    help="float16, int8-dynamic and int8 for tflite and onnx; int8 needs --calibration.",
)
@click.option(
    "--calibration",
    metavar="FOLDER|tfds:NAME",
    help="Images of the kind that the file will see; a half is held out to judge it by.",
)
@click.option(
    "--target-agreement",
    type=click.FloatRange(0, 1),
    default=TARGET,
    show_default=True,
    help="Share of those images on which the top-1 has to stay.",
)
@click.option(
    "--head",
    type=click.Choice(["mean", "class", "distillation"]),
    default="mean",
    show_default=True,
    help="Of a distilled DeiT: both heads, or one of them alone.",
)
@weights_option
@model_options
@labels_option
@click.option(
    "--verify/--no-verify", default=True, help="Reopen the file and compare. [default: yes]"
)
@force_option
@json_option
def command(
    format: str,
    model: str,
    output: str | None,
    weights: str | None,
    num_classes: int | None,
    image_size: tuple[int, int] | None,
    in_chans: int | None,
    assignments: Sequence[tuple[str, Any]],
    force: bool,
    as_json: bool,
    opset: str | None,
    attention: str | None,
    layout: str | None,
    target: str | None,
    endpoints: tuple[str, ...] | None,
    xla: bool,
    versioned: bool,
    dynamic_size: bool,
    precision: str,
    calibration: str | None,
    target_agreement: float,
    head: str,
    **arguments: Any,
) -> None:
    """Write MODEL as FORMAT: savedmodel, tflite or onnx (tf_saved_model and litert are taken too).

    MODEL is a .keras file or a catalogue name. The file is reopened in its own runtime and compared
    with the model before it appears under its name, with NAME.json beside it.
    """
    onnx = {"opset": int(opset) if opset else None, "attention": attention, "layout": layout}
    given = {**arguments, **onnx, "precision": precision}
    settled = settle(target, use_of(target, FORMATS[format]), given)
    OnnxOptions.of(*(settled[name] for name in onnx)).require_valid(FORMATS[format])
    endpoints = () if endpoints == ("none",) else endpoints
    ServingOptions(endpoints, xla, versioned).require_valid(FORMATS[format])
    require_precision(
        precision, FORMATS[format], arguments["preprocessing"], calibration, target_agreement
    )
    path = Path(output) if output else _default_output(model, FORMATS[format])
    if versioned:
        version_path(path, versioned, force)
    else:
        require_free(path, FORMATS[format], force)
    require_folder(path)
    saved = model.endswith(".keras")
    with working(f"Loading {model}"):
        import keras_vit
        from keras_vit.models.editing import one_head

        network = keras_vit.load(
            model,
            weights=weights,
            num_classes=num_classes,
            image_size=None if saved else image_size,
            in_chans=in_chans,
            **{
                **({"dynamic_image_size": True} if dynamic_size and not saved else {}),
                **dict(assignments),
            },
        )
        if head != "mean":
            network = one_head(network, head)
    with working(f"Exporting and verifying {path}"):
        report = keras_vit.export_model(
            network,
            path,
            format,
            image_size="dynamic" if dynamic_size else image_size if saved else None,
            overwrite=force,
            **onnx,
            target=target,
            endpoints=endpoints,
            xla=xla,
            versioned=versioned,
            precision=precision,
            calibration=calibration,
            target_agreement=target_agreement,
            **arguments,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _default_output(model: str, format: str) -> Path:
    path = Path(model)
    stem = path.stem if path.suffix == ".keras" else path.name
    return path.with_name(stem + _ENDINGS[format])


def _print(report: ExportReport) -> None:
    click.echo(report.path)
    print_fields(
        {
            "format": f"{report.format}, {report.precision}, {file_size(report.size)}, by {report.converter}",
            "takes": "; ".join(map(str, report.inputs)),
            "gives": "; ".join(map(str, report.outputs)),
            "beside it": ", ".join(file for file in report.files if file != report.path),
            "verified": _verification(report),
            "seconds": ", ".join(f"{step} {value:.1f}" for step, value in report.seconds.items()),
        },
        indent=2,
    )
    for line in report.notes:
        note(f"note: {line}")


def _verification(report: ExportReport) -> str:
    if report.comparison is None:
        return "no"
    return f"{compared(report.comparison)}, at batch {', '.join(map(str, report.batches))}"
