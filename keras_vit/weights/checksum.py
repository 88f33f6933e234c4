"""SHA-256 of files: what shows a flipped byte in formats without checksums of their own."""

import hashlib
import re
from pathlib import Path

from keras_vit.errors import CheckpointError, UsageError

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256(text: str) -> bool:
    """Whether a text is 64 hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def lower_sha256(text: str) -> str:
    """A SHA-256 that a user gave, in lower case.

    Raises:
        UsageError: if it is none.
    """
    if not is_sha256(text):
        raise UsageError(f"sha256 has 64 hexadecimal digits. Received: {text!r}")
    return text.lower()


def require_sha256(path: Path, sha256: str) -> None:
    """Refuse a file that is not the expected one.

    Raises:
        UsageError: if `sha256` is none, or `path` is a folder.
        CheckpointError: if the file has another one, or cannot be read.
    """
    expected = lower_sha256(sha256)
    if path.is_dir():
        raise UsageError(f"sha256 is that of one file, and {path} is a folder")
    try:
        found = file_sha256(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if found != expected:
        raise CheckpointError(
            f"{path} is not the expected file: its SHA-256 is {found}, not {expected}"
        )
