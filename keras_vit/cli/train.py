"""`keras-vit train`: fine-tune a model on labelled images, and save it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import (
    Assignment,
    ImageSize,
    data_options,
    force_option,
    known_model,
    labels_option,
    model_argument,
    source_options,
    weights_option,
)
from keras_vit.cli.output import bar, json_option, note, print_json, working
from keras_vit.distributed.kinds import KINDS
from keras_vit.training.run_folder import RunFolder, is_folder, require_run

if TYPE_CHECKING:
    from keras_vit.training import Epoch, TrainingReport

_positive = click.FloatRange(0, min_open=True)


def _known_teacher(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else known_model(ctx, param, value)


@click.command("train")
@model_argument
@data_options
@source_options
@click.option(
    "--output",
    "-o",
    required=True,
    metavar="FILE|FOLDER",
    help="The .keras file to write, or the folder of a run with checkpoints, logs and a report page.",
)
@click.option(
    "--recipe", metavar="NAME", help="Such as finetune. [default: plain, AdamW and no more]"
)
@weights_option
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="[default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="[default: the recipe's]")
@click.option(
    "--learning-rate",
    type=_positive,
    metavar="X",
    help="[default: the recipe's; plain: 1e-4, 1e-3 from scratch]",
)
@click.option(
    "--weight-decay", type=click.FloatRange(0), metavar="X", help="[default: the recipe's]"
)
@click.option(
    "--shift",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="X",
    help="Random moves, as a share of the side.",
)
@click.option(
    "--flip/--no-flip", default=None, help="Mirror at random; not for digits and letters."
)
@click.option("--validation", metavar="DATA", help="Other data to validate with.")
@click.option("--image-size", type=ImageSize(), help="Side, or HEIGHTxWIDTH, in pixels.")
@click.option("--dtype", metavar="POLICY", help="Such as mixed_bfloat16.")
@click.option(
    "--set",
    "assignments",
    type=Assignment(),
    multiple=True,
    help="A setting of the recipe, such as mixup=0.2, or any other argument of the model's builder, "
    "such as drop_path_rate=0.1; repeatable.",
)
@labels_option
@click.option("--seed", type=int, default=0, show_default=True, metavar="N")
@click.option(
    "--resume", is_flag=True, help="Go on with the run in the folder; begin it if there is none."
)
@click.option(
    "--checkpoint-steps",
    type=click.IntRange(1),
    metavar="N",
    help="A checkpoint every N steps, besides those at the ends of epochs.",
)
@click.option(
    "--checkpoint-seconds",
    type=_positive,
    default=600.0,
    show_default=True,
    metavar="X",
    help="The longest time without a checkpoint, in the middle of an epoch too.",
)
@click.option(
    "--deterministic", is_flag=True, help="The same bits in every run, at some cost in speed."
)
@click.option(
    "--teacher",
    metavar="FILE|NAME",
    callback=_known_teacher,
    help="A .keras, .onnx or .tflite file, a SavedModel or a name to learn from, too.",
)
@click.option(
    "--distillation",
    type=click.Choice(["hard", "soft"]),
    help="What of it: its answers, or their probabilities. [default: hard]",
)
@click.option(
    "--alpha", type=click.FloatRange(0, 1), metavar="X", help="Weight of it. [default: 0.5]"
)
@click.option(
    "--temperature", type=_positive, metavar="X", help="Of soft distillation. [default: 1]"
)
@click.option(
    "--distribute",
    type=click.Choice(KINDS),
    help="Train on all devices: mirrored on TensorFlow; the others on JAX (KERAS_BACKEND=jax).",
)
@click.option(
    "--model-devices",
    type=click.IntRange(1),
    metavar="N",
    help="That share one copy of the model under model-parallel. [default: all]",
)
@force_option
@json_option
def command(
    model: str,
    data: str,
    output: str,
    recipe: str | None,
    dtype: str | None,
    assignments: Sequence[tuple[str, Any]],
    force: bool,
    resume: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Fine-tune MODEL, a catalogue name, on labelled images, and save it with their class names.

    --weights none trains from scratch. With FILE.keras, the file appears when training is over, and
    Ctrl-C leaves nothing behind. A FOLDER keeps checkpoints: killed at any moment, the same command
    with --resume goes on as if nothing had happened, and ends with model.keras and report.html.
    """
    require_run(Path(output), resume, force)
    settings, overrides = _sorted(recipe, assignments)
    overrides |= {} if dtype is None else {"dtype": dtype}
    finished = resume and is_folder(Path(output)) and RunFolder(Path(output)).finished
    with working(f"Loading {model}"):
        from keras_vit.training import train

    with bar(f"Training {model}") as advance, _kept(Path(output)):
        report = train(
            model,
            data,
            output,
            recipe=recipe,
            settings=settings,
            overrides=overrides,
            overwrite=force,
            resume=resume,
            progress=lambda epoch: note(_line(epoch)),
            on_step=advance,
            **arguments,
        )
    if finished:
        note(f"{output} is a finished run: nothing was left to do")
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


@contextmanager
def _kept(output: Path) -> Iterator[None]:
    """Say where an interrupted run goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if is_folder(output) and RunFolder(output).last.exists():
            note(f"{output} keeps the run: the same command with --resume goes on")
        raise


def _sorted(
    recipe: str | None, assignments: Sequence[tuple[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Assignments to settings of the recipe, and the others, which are the model's."""
    from keras_vit.training.plans import PLAIN, setting_names

    known = setting_names(recipe or PLAIN)
    return (
        {name: value for name, value in assignments if name in known},
        {name: value for name, value in assignments if name not in known},
    )


def _print(report: "TrainingReport") -> None:
    skipped = f", {report.skipped} damaged files skipped" if report.skipped else ""
    best = ""
    if report.page and report.best_epoch != report.epochs[-1].number:
        best = f"; best {report.best_accuracy:.2%} in epoch {report.best_epoch}"
    click.echo(
        f"{report.path}: accuracy {report.accuracy:.2%} on {report.validation_count} validation images "
        f"(loss {report.loss:.4f}{best}), {len(report.class_names)} classes, {report.train_count} "
        f"training images{skipped}, {report.seconds:.0f} s"
        + (f", {report.page}" if report.page else "")
    )


def _line(epoch: "Epoch") -> str:
    return (
        f"epoch {epoch.number}/{epoch.total}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.2%}; "
        f"validation loss {epoch.val_loss:.4f}, accuracy {epoch.val_accuracy:.2%}; "
        f"{epoch.seconds:.1f} s"
    )
