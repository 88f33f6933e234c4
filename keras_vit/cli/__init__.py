"""The `keras-vit` command: one module a subcommand, each calling the Python function of its name.

Nothing heavy is imported up here, nor by the modules of the subcommands outside their functions:
`keras-vit --help`, `list` and `info` load neither Keras nor TensorFlow.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from keras_vit import __version__
from keras_vit.cli.running import run

_MODULES = {
    "list": "list_",
    "info": "info",
    "convert": "convert",
    "predict": "predict",
    "recipes": "recipes",
    "train": "train",
    "evaluate": "evaluate",
    "fewshot": "fewshot",
    "experiment": "experiment",
    "export": "export",
    "check": "check",
    "benchmark": "benchmark",
    "explain": "explain",
    "verify": "verify",
    "doctor": "doctor",
}
"""Subcommand -> its module here, which has a click command called `command`."""


class _Subcommands(click.Group):
    """A group whose commands are imported when they are asked for, and listed in our order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        return importlib.import_module(f"keras_vit.cli.{_MODULES[cmd_name]}").command


@click.group(
    cls=_Subcommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="keras-vit")
def _keras_vit() -> None:
    """Vision Transformers for Keras: pretrained weights in, verified files out.

    Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 the work failed,
    2 misuse. Nothing is overwritten without --force. KERAS_VIT_DEBUG=1 shows tracebacks.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on `args`, or on the process's own arguments; returns the exit code."""
    return run(_keras_vit, sys.argv[1:] if args is None else args)
