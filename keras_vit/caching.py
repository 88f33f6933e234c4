"""Where keras_vit keeps what it can make again: indices of records, the parsed catalogue. No Keras.

Environment variable:
    KERAS_VIT_CACHE: the folder; by default `keras_vit` in XDG_CACHE_HOME or ~/.cache.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_vit.weights.whole_file import draft_file


def cache_folder() -> Path:
    """The folder; it may not be there yet."""
    given = os.environ.get("KERAS_VIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_vit"


def cached_json(name: str, key: Any, make: Callable[[], Any]) -> Any:
    """Plain JSON data that is kept until its key changes.

    A cache that cannot be read or written only costs the time of making it.

    Args:
        name: of the file in the cache folder. key: what the data depends on, plain JSON data.
        make: gives the data.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        note = json.loads((cache_folder() / name).read_bytes())
        if note["key"] == key:
            return note["data"]
    data = make()
    with contextlib.suppress(OSError, RuntimeError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with draft_file(cache_folder() / name) as draft:
            draft.write_text(json.dumps({"key": key, "data": data}), encoding="utf-8")
    return data
