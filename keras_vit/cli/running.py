"""How a command ends: one line on stderr for every error, an exit code, and nothing left behind."""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from keras_vit.cli.signals import Interruption
from keras_vit.errors import KerasVitError, MissingPackageError, UsageError

DONE, FAILED, MISUSE = 0, 1, 2
_BY_SIGNAL = 128  # plus the signal's number, as shells count

_FLAGS = {
    "overwrite=True": "--force",
    "resume=True": "--resume",
    "partial=True": "--partial",
    'split="all"': "--split all",
    "weights=None": "--weights none",
    'weights="FILE"': "--weights FILE",
    "num_classes=": "--num-classes ",
    "model=NAME": "--model NAME",
    'outputs=["logits", "attention"]': "--outputs logits,attention",
    "leave out image_size": "leave out --image-size",
    "distillation='soft'": "--distillation soft",
}
"""What an error advises in Python -> what that is here."""


def run(command: click.Command, args: Sequence[str]) -> int:
    """Run `command` and return the exit code: 0 done, 1 the work failed, 2 misuse, 130 Ctrl-C."""
    interruption = Interruption()
    with _quiet():
        try:
            # Not `command.main`, which prints usage and empty lines of its own on errors and Ctrl-C.
            with command.make_context("keras-vit", list(args) or ["--help"]) as context:
                command.invoke(context)
            sys.stdout.flush()
            return DONE
        except click.exceptions.Exit as end:  # --help, --version
            return end.exit_code
        except BrokenPipeError:  # `keras-vit list | head`
            _forget_stdout()
            return _BY_SIGNAL + signal.SIGPIPE
        except BaseException as error:
            if os.environ.get("KERAS_VIT_DEBUG"):
                traceback.print_exc()
            line, code = _verdict(error, interruption.received)
            with contextlib.suppress(BrokenPipeError):
                click.echo(f"error: {in_our_terms(line)}", err=True)
            return code


def _verdict(error: BaseException, received: Sequence[int]) -> tuple[str, int]:
    """One line for the user, and the exit code."""
    if received:  # whatever a library made of it on the way up
        # CPython remembers an interrupt inside exec(), which dataclasses use, until the next exec(), and
        # `python -m` would then end by the signal and not with the exit code.
        exec("")
        return "interrupted", _BY_SIGNAL + received[-1]
    match error:
        case click.UsageError(ctx=click.Context() as context):
            return f"{error.format_message()} See {context.command_path} --help", MISUSE
        case click.ClickException():
            return error.format_message(), error.exit_code
        case UsageError() | MissingPackageError():
            return str(error), MISUSE
        case KerasVitError():
            return str(error), FAILED
        case ValueError() if _is_ours(error):  # a layer's, in Keras' manner
            return str(error), MISUSE
        case OSError(filename=str(name), strerror=str(reason)):
            return f"{name}: {reason}", FAILED
        case MemoryError():
            return "out of memory", FAILED
        case ModuleNotFoundError(name=str(name)):
            return f"{name} is not installed: pip install {name.partition('.')[0]}", MISUSE
    return (
        f"{type(error).__name__}: {error} (this should not happen; KERAS_VIT_DEBUG=1 shows where)",
        FAILED,
    )


def _is_ours(error: BaseException) -> bool:
    """Whether the error was raised by keras_vit's own code, and not by what that calls."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("keras_vit.")


def in_our_terms(line: str) -> str:
    """One line, with flags in place of Python's arguments."""
    for python, flag in _FLAGS.items():
        line = line.replace(python, flag)
    return " ".join(line.split())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep other libraries' chatter off stderr, except where the user has asked for it.

    TensorFlow's native libraries greet whatever the log level, so file descriptor 2 leads nowhere
    meanwhile and `sys.stderr` keeps the real one. A native crash still shows its Python stack.
    """
    if os.environ.get("KERAS_VIT_DEBUG"):
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module=r"keras_vit\b")
        warnings.showwarning = _one_line
    ours = sys.stderr
    with os.fdopen(os.dup(2), "w", buffering=1) as visible, Path(os.devnull).open("w") as nowhere:
        faulthandler.enable(visible)
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = visible
        try:
            yield
        finally:
            os.dup2(visible.fileno(), 2)
            sys.stderr = ours
            faulthandler.disable()


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def _forget_stdout() -> None:
    """Nobody reads: keep Python's own flush at the end from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
