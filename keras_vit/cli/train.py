"""`keras-vit train`: fine-tune a model on labelled images, and save it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import (
    Assignment,
    ImageSize,
    data_options,
    force_option,
    labels_option,
    model_argument,
    weights_option,
)
from keras_vit.cli.output import bar, json_option, note, print_json, working
from keras_vit.outputs import require_output

if TYPE_CHECKING:
    import keras

    from keras_vit.training import Epoch

_positive = click.FloatRange(0, min_open=True)
_share = click.FloatRange(0, 1)


@click.command("train")
@model_argument
@data_options
@click.option("--output", "-o", required=True, metavar="FILE", help="The .keras file to write.")
@weights_option
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, metavar="N")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@click.option(
    "--learning-rate", type=_positive, metavar="X", help="[default: 1e-4; 1e-3 from scratch]"
)
@click.option("--warmup", type=_share, default=0.1, show_default=True, help="Share of all steps.")
@click.option(
    "--weight-decay", type=click.FloatRange(0), default=0.05, show_default=True, metavar="X"
)
@click.option(
    "--shift", type=_share, default=0.0, metavar="X", help="Random moves, as a share of the side."
)
@click.option("--flip", is_flag=True, help="Mirror at random; not for digits and letters.")
@click.option("--validation", metavar="DATA", help="Other data to validate with.")
@click.option("--image-size", type=ImageSize(), help="Side, or HEIGHTxWIDTH, in pixels.")
@click.option("--dtype", metavar="POLICY", help="Such as mixed_bfloat16.")
@click.option(
    "--set",
    "assignments",
    type=Assignment(),
    multiple=True,
    help="Any other argument of the model's builder, such as drop_path_rate=0.1; repeatable.",
)
@labels_option
@click.option("--seed", type=int, default=0, show_default=True, metavar="N")
@force_option
@json_option
def command(
    model: str,
    data: str,
    output: str,
    dtype: str | None,
    assignments: Sequence[tuple[str, Any]],
    epochs: int,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Fine-tune MODEL, a catalogue name, on labelled images, and save it with their class names.

    AdamW with warm-up and cosine decay. --weights none trains from scratch. The file appears when
    training is over; Ctrl-C leaves nothing behind.
    """
    require_output(Path(output), [".keras"], force)
    overrides = dict(assignments) | ({} if dtype is None else {"dtype": dtype})
    with working(f"Loading {model}"):
        from keras_vit.training import train

    with bar(f"Training {model}") as advance:
        report = train(
            model,
            data,
            output,
            epochs=epochs,
            overrides=overrides,
            overwrite=force,
            progress=lambda epoch: note(_line(epoch)),
            callbacks=[_follower(advance)] if sys.stderr.isatty() else [],
            **arguments,
        )
    if as_json:
        print_json(report.to_dict())
        return
    skipped = f", {report.skipped} damaged files skipped" if report.skipped else ""
    click.echo(
        f"{report.path}: accuracy {report.accuracy:.2%} on {report.validation_count} validation images "
        f"(loss {report.loss:.4f}), {len(report.class_names)} classes, {report.train_count} training "
        f"images{skipped}, {report.seconds:.0f} s"
    )


def _follower(advance: Callable[[int, int], None]) -> "keras.callbacks.Callback":
    """A callback that tells after every step how many are done, of all."""
    import keras

    epochs_done = 0

    def begin(epoch: int, logs: Any = None) -> None:
        nonlocal epochs_done
        epochs_done = epoch

    def end(batch: int, logs: Any = None) -> None:
        steps = callback.params["steps"]
        advance(epochs_done * steps + batch + 1, callback.params["epochs"] * steps)

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=end)
    return callback


def _line(epoch: "Epoch") -> str:
    return (
        f"epoch {epoch.number}/{epoch.total}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.2%}; "
        f"validation loss {epoch.val_loss:.4f}, accuracy {epoch.val_accuracy:.2%}; "
        f"{epoch.seconds:.1f} s"
    )
