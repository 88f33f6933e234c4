"""Counts of parameters and multiply-adds: by hand on small models, and on the catalogue's."""

import functools
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

import keras_vit
from keras_vit.counting import count_macs, count_parameters, known_counts
from keras_vit.errors import UsageError
from keras_vit.layers import Attention, AttentionPool, skip_initialization

NAMES = keras_vit.list_models()
BLOCKS_ALIKE = keras_vit.list_models(family=("vit", "deit", "deit3"))
TOOL = Path(__file__).parent.parent / "tools" / "write_counts.py"

# Layers by hand


def model_of(layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (keras.layers.Dense(5), (3,), 3 * 5),
        (keras.layers.Dense(5), (7, 3), 7 * 3 * 5),
        (keras.layers.Conv2D(4, 3), (8, 6, 2), 6 * 4 * 3 * 3 * 2 * 4),
        (keras.layers.Conv2D(4, 3, strides=2, padding="same"), (8, 6, 2), 4 * 3 * 3 * 3 * 2 * 4),
        (keras.layers.Conv2D(4, 3, groups=2), (8, 6, 2), 6 * 4 * 3 * 3 * 1 * 4),
        (keras.layers.DepthwiseConv2D(3), (8, 6, 2), 6 * 4 * 3 * 3 * 2),
        (keras.layers.LayerNormalization(), (7, 3), 0),
        (keras.layers.Dropout(0.1), (7, 3), 0),
        (Attention(num_heads=2), (5, 4), 5 * (4 * 12 + 4 * 4) + 2 * 5 * 5 * 4),
        (AttentionPool(num_heads=2), (5, 4), 5 * (4 * 8 + 2 * 4) + 2 * 4 * 4 + 2 * 4 * 16),
        (
            AttentionPool(num_heads=2, num_prefix_tokens=2),
            (5, 4),
            3 * (4 * 8 + 2 * 4) + 2 * 4 * 4 + 2 * 4 * 16,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, keras.layers.Layer) else None,
)
def test_macs_of_one_layer(layer, shape, macs):
    assert count_macs(model_of([layer], shape)) == macs


def test_macs_of_a_model_within_a_model():
    inner = model_of([keras.layers.Dense(5)], (7, 3))
    assert count_macs(model_of([inner, keras.layers.Dense(2)], (7, 3))) == 7 * 3 * 5 + 7 * 5 * 2


def test_moving_statistics_are_not_parameters():
    model = model_of([keras.layers.Dense(5), keras.layers.BatchNormalization()], (3,))
    assert count_parameters(model) == 3 * 5 + 5 + 2 * 5


def test_frozen_weights_are_parameters():
    model = model_of([keras.layers.Dense(5)], (3,))
    model.trainable = False
    assert count_parameters(model) == 3 * 5 + 5


def test_a_layer_without_a_rule_is_an_error():
    with pytest.raises(UsageError, match="no rule for Embedding"):
        count_macs(model_of([keras.layers.Embedding(10, 4)], (3,)))


def test_a_model_of_any_image_size_is_an_error():
    with pytest.raises(UsageError, match="needs a model of one image size"):
        count_macs(model_of([keras.layers.Conv2D(4, 3)], (None, None, 3)))


def test_what_cannot_be_counted_is_not_known():
    images = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same")
    twice = keras.Model(images, shared(shared(images)))
    once = keras.Model(images, keras.layers.ReLU()(shared(images)))
    any_size = keras.layers.Conv2D(4, 3)
    free = keras.Model(whole := keras.Input((None, None, 3)), any_size(whole))
    assert known_counts(once) == (84, 8 * 8 * 27 * 3)
    assert known_counts(twice) == (84, None)
    assert known_counts(free) == (112, None)


# The catalogue


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "cvt_13_224",
        "vit_tiny_r_s16_p8_224",
        "vit_small_r26_s32_224",
        "resnetv2_50x1_bit",
    ],
)
def test_counts_of_the_built_model(name):
    card, model = keras_vit.info(name), keras_vit.load(name, weights=None)
    assert count_parameters(model) == card.parameters
    assert count_macs(model) == card.macs


@pytest.mark.parametrize("name", ["cvt_13_224", "cvt_21_384"])
def test_counts_of_a_cvt_by_hand(name):
    """Stage by stage: embedding, convolutions, products of tokens and of attention; BatchNorm's scales."""
    card = keras_vit.info(name)
    side, channels, parameters, macs = card.arguments["image_size"][0], 3, 0, 0
    stages = zip(
        *(card.arguments[key] for key in ("embed_dim", "depth")), (7, 3, 3), (4, 2, 2), strict=True
    )
    for stage, (dim, depth, kernel, stride) in enumerate(stages):
        side //= stride
        token = int(stage == 2)
        queries, keys = side**2 + token, (side // 2) ** 2 + token
        dense = 4 * (dim * dim + dim) + 8 * dim * dim + 5 * dim
        parameters += kernel**2 * channels * dim + 3 * dim + token * dim
        parameters += depth * (dense + 3 * (9 + 2) * dim + 4 * dim)
        macs += side**2 * kernel**2 * channels * dim
        macs += depth * 9 * dim * (side**2 + 2 * (side // 2) ** 2)
        macs += depth * dim * dim * (10 * queries + 2 * keys)
        macs += depth * 2 * queries * keys * dim
        channels = dim
    assert card.parameters == parameters + 2 * channels + 1000 * (channels + 1)
    assert card.macs == macs + 1000 * channels


@pytest.mark.parametrize("name", BLOCKS_ALIKE)
def test_counts_of_two_depths_extrapolate_to_the_card(name):
    """Blocks are all alike, so two shallow models tell the deep one's counts, without its memory."""
    card = keras_vit.info(name)
    one, two = (counts_at_depth(card.architecture, card.num_classes, depth) for depth in (1, 2))
    blocks = card.arguments["depth"] - 1
    assert one[0] + blocks * (two[0] - one[0]) == card.parameters
    assert one[1] + blocks * (two[1] - one[1]) == card.macs


@functools.cache
def counts_at_depth(architecture, num_classes, depth):
    with skip_initialization():
        model = keras_vit.load(architecture, weights=None, num_classes=num_classes, depth=depth)
    return count_parameters(model), count_macs(model)


def test_macs_grow_with_the_image():
    small, large = (
        count_macs(keras_vit.load("test_vit", weights=None, image_size=size)) for size in (32, 64)
    )
    head, linear = (
        64 * 1000,
        lambda tokens: tokens * (64 * 64 * 4 + 2 * 64 * 192) + 2 * tokens**2 * 64,
    )
    patches = 16 * 16 * 3 * 64
    assert small == head + 4 * patches + 6 * linear(5)
    assert large == head + 16 * patches + 6 * linear(17)


# The tool


@pytest.fixture
def tool():
    return SimpleNamespace(**runpy.run_path(str(TOOL)))


def test_tool_replaces_two_numbers_and_nothing_else(tool):
    card = keras_vit.info("vit_tiny_patch16_224.augreg_in21k")
    text = (Path(keras_vit.zoo.__file__).parent / "vit.toml").read_text(encoding="utf-8")
    written = tool.replace(text, card, {"parameters": 12, "macs": 3456})
    old, new = text.splitlines(), written.splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert changed == [
        (f"parameters = {card.parameters:_}", "parameters = 12"),
        (f"macs = {card.macs:_}", "macs = 3_456"),
    ]
    assert tool.replace(written, card, {"parameters": card.parameters, "macs": card.macs}) == text


def test_tool_wants_the_lines_to_be_there(tool):
    card = keras_vit.info("vit_tiny_patch16_224.augreg_in21k")
    header = f"[architectures.{card.architecture}.tags.{card.tag}]\n"
    with pytest.raises(SystemExit, match="needs one line `parameters = 0`"):
        tool.replace(header, card, {"parameters": 1, "macs": 1})


@pytest.mark.slow
@pytest.mark.in_turn(12)
@pytest.mark.parametrize("first", range(0, len(NAMES), 20))
def test_counts_of_every_model_at_full_size(first):
    """Twenty at a time, in a process of their own."""
    names = NAMES[first : first + 20]
    program = (
        "import json, runpy, sys; counts = runpy.run_path(sys.argv[1])['counts'];"
        "print(json.dumps({name: counts(name) for name in sys.argv[2:]}))"
    )
    command = [sys.executable, "-P", "-c", program, str(TOOL), *names]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    cards = {name: keras_vit.info(name) for name in names}
    expected = {n: {"parameters": c.parameters, "macs": c.macs} for n, c in cards.items()}
    assert json.loads(process.stdout.splitlines()[-1]) == expected
