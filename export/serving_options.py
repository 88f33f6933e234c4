"""What can be chosen of a SavedModel: further endpoints, XLA, the folder of versions for TF Serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_vit.config import Preprocessing
from keras_vit.errors import UsageError
from keras_vit.export.onnx_options import one_of

ENDPOINTS = ("images", "bytes")
"""Signatures beside `serving_default`: uint8 images of any size, and JPEG or PNG files."""

_DECODED = (1, 3)  # channels that a file can have


@dataclass(frozen=True)
class ServingOptions:
    """How a SavedModel is written.

    Attributes:
        endpoints: of `ENDPOINTS`; None is all that the model can have.
        xla: the model is compiled by XLA when it is first called with a batch size.
        versioned: whether the path is a folder of versions: True for the next one, or a number.
    """

    endpoints: tuple[str, ...] | None = None
    xla: bool = False
    versioned: bool | int = False

    def require_valid(self, format: str) -> None:
        """Check them for a format.

        Raises:
            UsageError: an unknown endpoint or version, or choices for another format.
        """
        if format != "savedmodel" and (self.endpoints or self.xla or self.versioned):
            raise UsageError(
                f"endpoints, xla and versioned are a SavedModel's; the format is {format}"
            )
        for name in self.endpoints or ():
            if name not in ENDPOINTS:
                raise UsageError(f"an endpoint has to be {one_of(ENDPOINTS)}, not {name!r}")
        if not isinstance(self.versioned, int) or self.versioned < 0:
            raise UsageError(f"versioned has to be True or a number, not {self.versioned!r}")

    def chosen(
        self, format: str, values: Preprocessing | None, channels: int, mode: str, dtype: str
    ) -> tuple[str, ...]:
        """The endpoints of a model.

        Args:
            values: what its checkpoint wants done to images, or None. channels: of its images.
            mode: of the preprocessing. dtype: of the model's images.

        Raises:
            UsageError: one was asked for that the model cannot have.
        """
        if format != "savedmodel":
            return ()
        known = values is not None and len(values.mean) == len(values.std) == channels
        reasons = {
            "images": "" if known else "the model's preprocessing is not known",
            "bytes": "" if channels in _DECODED else f"image files do not have {channels} channels",
        }
        reasons["bytes"] = reasons["images"] or reasons["bytes"]
        if self.endpoints is None:
            # Not beside a layer of the user's own, which may do what the checkpoint does not know of.
            plain = mode != "layer" and dtype == "float32"
            return tuple(name for name in ENDPOINTS if plain and not reasons[name])
        for name in self.endpoints:
            if reasons[name]:
                raise UsageError(f'no endpoint "{name}": {reasons[name]}')
        return self.endpoints


def version_path(folder: Path, versioned: bool | int, overwrite: bool) -> Path:
    """Where in a folder of versions a SavedModel goes.

    TF Serving loads each number once, so that a version is replaced by the next, not by itself: True is
    one more than the largest there is. A number of one's own can be overwritten.

    Raises:
        UsageError: the folder is no folder of versions, or `overwrite` with nothing to replace.
    """
    if not folder.parent.is_dir():
        raise UsageError(f"the folder {folder.parent} does not exist")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file and versions lie in a folder; choose another name")
    if (folder / "saved_model.pb").exists():
        raise UsageError(f"{folder} is a SavedModel itself; versions need another folder")
    if versioned is not True:
        return folder / str(versioned)
    if overwrite:
        raise UsageError(
            "versioned=True adds the next version and replaces none; pass the number to replace"
        )
    return folder / str(max(versions(folder), default=0) + 1)


def versions(folder: Path) -> Sequence[int]:
    """The numbers of the versions in a folder."""
    return sorted(
        int(entry.name)
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if entry.is_dir() and entry.name.isascii() and entry.name.isdecimal()
    )
