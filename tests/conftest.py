"""`KERAS_VIT_TURN=T`: of each test marked `in_turn(n)`, run every n-th parameter, from the T-th on."""

import os
from collections import Counter

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    turn = os.environ.get("KERAS_VIT_TURN")
    if turn is None:
        return
    seen: Counter[str] = Counter()
    chosen, left_out = [], []
    for item in items:
        marker = item.get_closest_marker("in_turn")
        test = item.nodeid.partition("[")[0]
        skipped = marker is not None and (seen[test] - int(turn)) % marker.args[0] != 0
        seen[test] += 1
        (left_out if skipped else chosen).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = chosen
