"""Errors that users meet. Each message is one line that says what to do."""

import importlib
from types import ModuleType


class KerasVitError(Exception):
    """Work that could not be done; the command line prints it and exits with 1."""


class UsageError(KerasVitError, ValueError):
    """A wrong name or argument; the command line exits with 2."""


class UnknownModelError(UsageError):
    """A name that the catalogue does not have."""


class NoPictureError(UsageError):
    """A picture that a model or a file cannot give, whatever the arguments."""


class CheckpointError(KerasVitError, ValueError):
    """A checkpoint file that is damaged, hostile or does not fit the model."""


class ExportError(KerasVitError, RuntimeError):
    """An export that failed, or a written file that does not compute what the model does."""


class MissingPackageError(KerasVitError, ImportError):
    """An optional package that is not installed; the command line exits with 2."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional `module`, or say which extra of this package brings it.

    Raises:
        MissingPackageError: with the pip command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{module} is not installed: pip install 'keras-vit-zoo[{extra}]'"
        ) from error
