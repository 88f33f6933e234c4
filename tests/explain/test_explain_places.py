"""Where the tokens of each family lie on the image."""

from typing import Any

import numpy as np
import pytest
from explained import images

from keras_vit.explain.places import Place
from keras_vit.explain.tracing import trace


@pytest.mark.parametrize(
    ("family", "layer", "prefix", "grid", "first", "step"),
    [
        ("vit", "blocks_1", ("class",), (3, 2), 7.5, 16),
        ("hybrid", "blocks_0", ("class",), (6, 4), 3.5, 8),
        ("bit", "stages_1_blocks_0", (), (6, 4), 3.5, 8),
        ("cvt", "stages_0_blocks_0", (), (12, 8), 1, 4),
        ("cvt", "stages_1_blocks_0", (), (6, 4), 1, 8),
        ("cvt", "stages_2_blocks_1", ("class",), (3, 2), 1, 16),
    ],
)
def test_places(
    models: dict[str, Any],
    family: str,
    layer: str,
    prefix: tuple[str, ...],
    grid: tuple[int, int],
    first: float,
    step: float,
) -> None:
    found = trace(models[family], images()).places[layer]
    assert found == Place(prefix, grid, (first, first), (step, step))


def test_the_keys_of_a_cvt_are_every_second_query(models: dict[str, Any]) -> None:
    symbols = trace(models["cvt"], images())
    queries, keys = symbols.places["stages_1_blocks_0"], symbols.keys["stages_1_blocks_0"]
    every_second = queries.centres().reshape(6, 4, 2)[::2, ::2].reshape(-1, 2)
    np.testing.assert_array_equal(keys.centres(), every_second)
