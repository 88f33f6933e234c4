"""`KERAS_VIT_TURN=T`: slow and parity tests take turns, so that a run takes an eighth of their time.

Of the files with such tests every eighth one runs, so that eight turns see all; of a test marked
`in_turn(n)` every n-th parameter does.
"""

import contextlib
import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

# torchvision, which timm imports, crashes when it comes after TensorFlow, whatever is collected first.
with contextlib.suppress(ImportError):
    import timm.data  # noqa: F401

EIGHTHS = 8


@pytest.fixture
def few_objects() -> Iterator[None]:
    """For `quantize`: Keras collects garbage after each layer, among all that the tests before have made."""
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    turn = os.environ.get("KERAS_VIT_TURN")
    if turn is None:
        return
    seen: Counter[str] = Counter()
    files: dict[Path, int] = {}
    chosen, left_out = [], []
    for item in items:
        (chosen if _has_turn(item, int(turn), seen, files) else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = chosen


def _has_turn(item: pytest.Item, turn: int, seen: Counter[str], files: dict[Path, int]) -> bool:
    marker = item.get_closest_marker("in_turn")
    if marker is not None:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        return (seen[test] - turn) % marker.args[0] == 0
    if item.get_closest_marker("slow") or item.get_closest_marker("parity"):
        return (files.setdefault(item.path, len(files)) - turn) % EIGHTHS == 0
    return True
