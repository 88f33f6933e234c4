"""Fetching published weights from the Hugging Face hub, or a mirror of it, into its cache.

Environment variables:
    KERAS_VIT_OFFLINE: 1 takes files from the cache only (so does HF_HUB_OFFLINE).
    KERAS_VIT_ENDPOINT: address of a mirror (else HF_ENDPOINT, else the hub itself).
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from keras_vit.errors import CheckpointError, UsageError
from keras_vit.weights.checksum import file_sha256, is_sha256

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

# Seconds to wait before the second and the third try.
_PAUSES = (1.0, 3.0)
_HUB = "https://huggingface.co"
_DISK_ERRORS = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.ENOTDIR}
_TRUE = {"1", "on", "yes", "true"}

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Source:
    """Where a file is looked for."""

    repo_id: str
    revision: str
    endpoint: str
    cache_dir: Path | None

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.repo_id}: {what}; or pass weights=None for fresh weights, "
            'weights="FILE" for a checkpoint of yours'
        )


class _DamagedDownloadError(Exception):
    """What arrived is not what the hub announced."""


def fetch(
    repo_id: str,
    filenames: Sequence[str],
    *,
    revision: str | None = None,
    sha256: str | None = None,
    cache_dir: Path | str | None = None,
) -> Path:
    """The path of a file of a hub repository, downloaded if the cache does not have it.

    A download is tried three times and verified: its size, and its SHA-256 where the hub announces
    it, as it does for every large file.

    Args:
        repo_id: "organisation/name".
        filenames: names to look for; the first that the repository has is taken.
        revision: branch, tag or commit; None means "main".
        sha256: the expected SHA-256 of the file, 64 hexadecimal digits.
        cache_dir: folder of the cache; None means that of huggingface_hub (HF_HOME, HF_HUB_CACHE).

    Raises:
        CheckpointError: one line that says why there is no file and what to do.
        UsageError: when `repo_id` cannot be one.
    """
    endpoint = os.environ.get("KERAS_VIT_ENDPOINT") or os.environ.get("HF_ENDPOINT") or _HUB
    folder = Path(cache_dir) if cache_dir is not None else None
    source = _Source(repo_id, revision or "main", endpoint.rstrip("/"), folder)
    if _is_true("KERAS_VIT_OFFLINE") or _is_true("HF_HUB_OFFLINE"):
        path = _first_cached(source, filenames)
        if path is None:
            raise source.error(
                f"{' or '.join(filenames)} is not in the cache and KERAS_VIT_OFFLINE or "
                "HF_HUB_OFFLINE is set; unset it to download"
            )
    else:
        path = _first_online(source, filenames, sha256)
    # The cache names a large file by its SHA-256, and it was verified when it came.
    if sha256 and path.resolve().name != sha256 and file_sha256(path) != sha256:
        raise source.error(f"{path.name} is not the expected file (its SHA-256 is not {sha256})")
    return path


def _first_online(source: _Source, filenames: Sequence[str], sha256: str | None) -> Path:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    for filename in filenames:
        cached: Path | None = None
        try:
            cached = _first_cached(source, filenames)
            return _fetch_one(source, filename, sha256, patient=cached is None)
        except (CheckpointError, UsageError):
            raise
        except HFValidationError as error:
            raise UsageError(
                f"{source.repo_id!r} is no hub repository: {_one_line(error)}"
            ) from error
        # The hub's library lets through the exceptions of whichever HTTP library it uses.
        except Exception as error:
            missing = isinstance(error, EntryNotFoundError)
            if missing and not isinstance(error, LocalEntryNotFoundError):
                continue
            if cached is not None:
                return cached
            raise source.error(_explanation(source, error)) from error
    raise source.error(f"{source.endpoint} has no {' or '.join(filenames)} in it")


def _first_cached(source: _Source, filenames: Sequence[str]) -> Path | None:
    found = (_cached(source, filename, source.revision) for filename in filenames)
    return next((path for path in found if path is not None), None)


def _cached(source: _Source, filename: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(
        source.repo_id, filename, cache_dir=source.cache_dir, revision=revision
    )
    return Path(path) if isinstance(path, str) else None


def _fetch_one(source: _Source, filename: str, sha256: str | None, *, patient: bool) -> Path:
    """One request when the cache has the newest version, else two and the download."""
    metadata = _retried(partial(_metadata, source, filename), _PAUSES if patient else ())
    cached = _cached(source, filename, metadata.commit_hash or source.revision)
    if cached is not None:
        return cached
    announced = metadata.etag if metadata.etag and is_sha256(metadata.etag) else None
    if sha256 and announced and sha256 != announced:
        raise source.error(
            f"{filename} has changed on {source.endpoint}: its SHA-256 is {announced}"
        )
    return _retried(
        partial(_download, source, filename, metadata.size, announced or sha256), _PAUSES
    )


def _metadata(source: _Source, filename: str) -> "HfFileMetadata":
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(source.repo_id, filename, revision=source.revision, endpoint=source.endpoint)
    return get_hf_file_metadata(url, endpoint=source.endpoint)


def _download(source: _Source, filename: str, size: int | None, sha256: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    path = Path(
        hf_hub_download(
            source.repo_id,
            filename,
            revision=source.revision,
            cache_dir=source.cache_dir,
            endpoint=source.endpoint,
        )
    )
    wrong_size = size is not None and path.stat().st_size != size
    if wrong_size or (sha256 and file_sha256(path) != sha256):
        # Else the next call would take it from the cache, unverified.
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise _DamagedDownloadError("what arrived is not the file that the hub announced")
    return path


def _retried(attempt: Callable[[], Result], pauses: Sequence[float]) -> Result:
    """Call `attempt` until it succeeds, once more after each pause; lasting errors end it at once."""
    for pause in pauses:
        try:
            return attempt()
        except Exception as error:
            if not _may_pass(error):
                raise
            time.sleep(pause)
    return attempt()


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    if isinstance(error, EntryNotFoundError | HFValidationError):
        return False
    return not (isinstance(error, OSError) and error.errno in _DISK_ERRORS)


def _explanation(source: _Source, error: Exception) -> str:
    from huggingface_hub import errors as hub

    match error:
        case hub.GatedRepoError():
            return f"gated; accept its terms on {source.endpoint} and run: hf auth login"
        case hub.RepositoryNotFoundError():
            return f"no such repository on {source.endpoint}, or private (then run: hf auth login)"
        case hub.RevisionNotFoundError():
            return f"it has no revision {source.revision!r}"
        case hub.HfHubHTTPError():
            return f"{source.endpoint} answers {error.response.status_code}"
        case OSError(errno=number) if number in _DISK_ERRORS:
            return f"cannot write the cache: {error.strerror}"
        case _DamagedDownloadError():
            return f"the download from {source.endpoint} is damaged: {error}"
    return f"cannot be downloaded from {source.endpoint}: {_one_line(error)}"


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in _TRUE


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
