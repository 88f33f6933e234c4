"""Tensor tables: numbers, parts, kinds, other spellings, constants, variants."""

import numpy as np
import pytest

from keras_vit.errors import UsageError
from keras_vit.weights.name_map import KINDS, NO_BATCHES, Constant, Layout, Row

HEADS = {"num_heads": 2}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("stages.{}.blocks.{}.w", "stages.0.blocks.9.w"),
        ("block{+1}/unit{+1:02d}/w", "block1/unit10/w"),
        ("block{+1}/unit{:03d}/w", "block1/unit009/w"),
        ("w", "w"),
    ],
)
def test_numbers_are_filled_in(theirs: str, expected: str) -> None:
    row = Layout((Row("stages_{}/blocks_{}/w", theirs),), ()).find("stages_0/blocks_9/w")
    assert row is not None and row.names == (expected,)


@pytest.mark.parametrize("path", ["stages_x/w", "stages_0/ww", "a/stages_0/w", "stages_0.w"])
def test_other_paths_are_not_found(path: str) -> None:
    assert Layout((Row("stages_{}/w", "{}"),), ()).find(path) is None


@pytest.mark.parametrize(
    ("kind", "keras", "theirs"),
    [
        ("vector", (6,), (6,)),
        ("linear", (4, 6), (6, 4)),
        ("pointwise", (4, 6), (6, 4, 1, 1)),
        ("conv", (3, 5, 4, 6), (6, 4, 3, 5)),
        ("first_conv", (3, 5, 4, 6), (6, 4, 3, 5)),
        ("patch", (3, 5, 4, 6), (6, 4, 3, 5)),
        ("depthwise", (3, 5, 4, 1), (4, 1, 3, 5)),
        ("positions", (1, 5, 4), (1, 5, 4)),
        ("flat_positions", (1, 5, 4), (5, 4)),
        ("flat_token", (1, 1, 4), (4,)),
        ("frequencies", (2, 3, 2, 32), (2, 3, 64)),
        ("first_third", (2,), (6,)),
        ("last_third", (2,), (6,)),
        ("same", (4, 6), (4, 6)),
        ("same_pointwise", (4, 6), (1, 1, 4, 6)),
        ("same_first_conv", (3, 5, 4, 6), (3, 5, 4, 6)),
        ("same_patch", (3, 5, 4, 6), (3, 5, 4, 6)),
        ("squeezed", (6,), (1, 1, 1, 6)),
        ("heads", (4, 6), (4, 2, 3)),
        ("heads", (6,), (2, 3)),
        ("heads_out", (6, 4), (2, 3, 4)),
    ],
)
def test_a_kind_is_undone(kind: str, keras: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    layout, row = Layout((), ()), Row("a", "a", kind)
    array = random(*keras)
    (written,) = layout.from_keras(row, array, HEADS)
    assert written.shape == theirs
    np.testing.assert_array_equal(layout.to_keras(row, [written]), array)


def test_every_kind_is_tested() -> None:
    (mark,) = test_a_kind_is_undone.pytestmark
    assert {case[0] for case in mark.args[1]} == set(KINDS)


def test_depthwise_keeps_channels_and_pixels_apart() -> None:
    theirs = random(4, 1, 3, 5)
    ours = KINDS["depthwise"].to_keras(theirs)
    assert ours[2, 4, 3, 0] == theirs[3, 0, 2, 4]


def test_parts_stand_side_by_side() -> None:
    layout, row = Layout((), ()), Row("qkv", ("q", "k", "v"), "linear")
    query, key, value = random(3, 4, 4)
    joined = layout.to_keras(row, [query, key, value])
    np.testing.assert_array_equal(joined, np.concatenate([query.T, key.T, value.T], axis=1))
    for part, array in zip(layout.from_keras(row, joined, {}), (query, key, value), strict=True):
        np.testing.assert_array_equal(part, array)


def test_names_in_another_spelling() -> None:
    layout = Layout((), (), renames=((r"^params/", ""), (r"_0/", "_1/")))
    assert layout.spelled("params/Attention_0/kernel") == "Attention_1/kernel"
    assert layout.spelled("head/kernel") == "head/kernel"


def test_names_are_counted_in_any_spelling() -> None:
    rows = (Row("blocks_{}/w", ("block{+1}.a", "block{+1}.b")), Row("head", "head"))
    layout = Layout(rows, (), renames=((r"^module\.", ""),))
    names = ["module.block1.a", "block12.b", "head", "heads", "blockx.a", "other"]
    assert layout.count_known(names) == 3


def test_a_constant_is_written_beside_its_variable_and_ignored_on_the_way_in() -> None:
    constant = Constant("blocks_{}/bn/gamma", "blocks.{}.bn.num_batches_tracked", NO_BATCHES)
    layout = Layout((), (), constants=(constant,))
    (written,) = layout.constants_beside("blocks_3/bn/gamma").items()
    assert written == ("blocks.3.bn.num_batches_tracked", 0) and written[1].dtype == np.int64
    assert layout.constants_beside("blocks_3/bn/beta") == {}
    assert layout.is_ignored("blocks.3.bn.num_batches_tracked")
    assert not layout.is_ignored("blocks.3.bn.num_batches")


def test_the_first_table_that_has_all_names() -> None:
    other = Layout((Row("a", "x"), Row("b", "y")), ())
    layout = Layout((Row("a", "p"),), (), variants=(other,))
    assert layout.for_model(["a"]) is layout
    assert layout.for_model(["a", "b"]) is other
    assert layout.for_model(["a", "c"]) is layout


def test_an_argument_that_the_library_has_no_model_for() -> None:
    layout = Layout((), (), requires={"global_pool": "token"})
    layout.require({"global_pool": "token", "depth": 3}, "npz")
    with pytest.raises(UsageError, match="npz has no model with global_pool='avg'"):
        layout.require({"global_pool": "avg"}, "npz")
