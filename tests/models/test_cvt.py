"""CvT as a model: names, feature maps, sizes, the paper's ablations, training, files."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_vit
from keras_vit.counting import count_parameters
from keras_vit.errors import CheckpointError
from keras_vit.models import VisionModel

SMALL = {
    "weights": None,
    "image_size": 32,
    "embed_dim": (8, 12, 16),
    "depth": (1, 1, 2),
    "num_heads": (1, 2, 4),
    "num_classes": 4,
}
IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")


def small(**arguments: object) -> VisionModel:
    return keras_vit.load("cvt_13_224", **{**SMALL, **arguments})


def loud(model: VisionModel) -> VisionModel:
    """Random weights, of which a mistake in any shows, as in `keras_vit.golden`."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        noise = rng.normal(size=variable.shape)
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[: 2 if variable.shape[-1] == 1 else -1])
            variable.assign(1.5 * noise / fan_in**0.5)
        else:
            variable.assign(variable + (np.abs(noise) if "var" in variable.name else 0.3 * noise))
    return model


def predicted(model: keras.Model, images: np.ndarray = IMAGES) -> np.ndarray:
    """The model's outputs, eagerly: what is so small takes longer to trace than to run."""
    outputs = model(images, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return loud(small())


# Names and feature maps


def test_layer_names(model: VisionModel) -> None:
    assert [layer.name for layer in model.layers] == [
        "images",
        "stages_0_embed",
        "stages_0_blocks_0",
        "stages_1_embed",
        "stages_1_blocks_0",
        "stages_2_embed",
        "stages_2_blocks_0",
        "stages_2_blocks_1",
        "pool",
        "norm",
        "head",
    ]


def test_variable_paths(model: VisionModel) -> None:
    paths = {variable.path for variable in model.weights}
    assert {
        "stages_2_embed/cls_token",
        "stages_0_embed/proj/kernel",
        "stages_1_blocks_0/attn/conv_proj_k/bn/moving_variance",
        "stages_2_blocks_1/attn/proj_v/bias",
        "stages_2_blocks_1/mlp/fc2/kernel",
    } <= paths


def test_block_output_is_a_map(model: VisionModel) -> None:
    features = keras.Model(model.input, model.get_layer("stages_1_blocks_0").output)
    assert predicted(features).shape == (3, 4, 4, 12)


def test_the_last_stage_gives_a_map_and_a_token(model: VisionModel) -> None:
    features = keras.Model(model.input, model.get_layer("stages_2_blocks_1").output)
    grid, token = predicted(features)
    assert (grid.shape, token.shape) == ((3, 2, 2, 16), (3, 1, 16))


def test_class_token_alone_reaches_the_head(model: VisionModel) -> None:
    outputs = [model.get_layer("stages_2_blocks_1").output[1], model.get_layer("norm").output]
    token, features = predicted(keras.Model(model.input, outputs))
    norm = model.get_layer("norm")
    x = token[:, 0].astype("float64")
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        features, x * np.asarray(norm.gamma) + np.asarray(norm.beta), atol=1e-5
    )


def test_without_classes_the_output_is_the_pooled_features(model: VisionModel) -> None:
    features = keras.Model(model.input, model.get_layer("norm").output)
    np.testing.assert_array_equal(predicted(model.reset_classifier(0)), predicted(features))


def test_average_pooling_is_the_mean_of_the_normed_map(model: VisionModel) -> None:
    average = small(global_pool="avg")
    average.set_weights(model.get_weights())
    outputs = [average.get_layer("norm").output, average.get_layer("pool").output]
    grid, features = predicted(keras.Model(average.input, outputs))
    np.testing.assert_allclose(features, grid.mean(axis=(1, 2)), atol=1e-5)


def test_attention_scores(model: VisionModel) -> None:
    found = predicted(keras_vit.attention_scores(model))
    shapes = {name: x.shape for name, x in found.items()}
    assert shapes == {
        "logits": (3, 4),
        "stages_0_blocks_0": (3, 1, 64, 16),
        "stages_1_blocks_0": (3, 2, 16, 4),
        "stages_2_blocks_0": (3, 4, 5, 2),
        "stages_2_blocks_1": (3, 4, 5, 2),
    }
    np.testing.assert_allclose(found["logits"], predicted(model), atol=1e-5)
    for name in shapes.keys() - {"logits"}:
        np.testing.assert_allclose(found[name].sum(-1), 1, atol=1e-6)


# Sizes


@pytest.mark.parametrize("size", [(48, 48), (40, 72), (33, 45)])
def test_any_image_size_takes_the_same_weights(model: VisionModel, size: tuple[int, int]) -> None:
    other, dynamic = small(image_size=size), small(dynamic_image_size=True)
    for each in (other, dynamic):
        each.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    logits = predicted(other, images)
    np.testing.assert_allclose(predicted(dynamic, images), logits, atol=1e-5)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2


def test_a_checkpoint_fits_another_size(model: VisionModel, tmp_path: Path) -> None:
    file = keras_vit.save_weights(model, tmp_path / "cvt.safetensors", layout="official")
    larger = small(weights=file, image_size=64)
    assert not larger.load_report.resized
    for found, expected in zip(larger.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("projection", ["conv", "average"])
def test_dynamic_sizes_of_every_projection(projection: str) -> None:
    dynamic = loud(small(dynamic_image_size=True, projection=projection, position_embedding=True))
    fixed = small(projection=projection, position_embedding=True)
    fixed.set_weights(dynamic.get_weights())
    np.testing.assert_allclose(predicted(dynamic), predicted(fixed), atol=1e-5)
    assert predicted(dynamic, np.zeros((2, 44, 60, 3), "float32")).shape == (2, 4)


# The paper's ablations. Table 6 prints 19.5, 19.9, 20.3 and 20.0 million parameters; table 2, of the
# last, 19.98 million where its code has 19,997,480.


@pytest.mark.parametrize(
    ("token_embedding", "position_embedding", "parameters", "printed"),
    [
        ("patch", False, 19_561_064, 19.5e6),
        ("patch", True, 19_987_560, 19.9e6),
        ("conv", True, 20_423_976, 20.3e6),
        ("conv", False, 19_997_480, 20.0e6),
    ],
)
def test_token_and_position_embeddings_of_table_6(
    token_embedding: str, position_embedding: bool, parameters: int, printed: float
) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = keras_vit.load(
            "CvT-13",
            weights=None,
            token_embedding=token_embedding,
            position_embedding=position_embedding,
        )
    assert count_parameters(model) == parameters
    assert abs(parameters - printed) < 0.13e6


ABLATIONS = {
    "positions": {"position_embedding": True},
    "positions-first": {"position_embedding": (True, False, False)},
    "positions-last": {"position_embedding": (False, False, True)},
    "patch": {"token_embedding": "patch"},
    "stride-1": {"stride_kv": 1},
    "linear": {"projection": "linear"},
    "average": {"projection": "average"},
    "conv-in-stage-1": {"projection": ("conv", "linear", "linear")},
    "no-class-token": {"class_token": False, "global_pool": "avg"},
    "gelu": {"act": "gelu"},
}


@pytest.mark.parametrize("arguments", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_ablation_changes_the_output(model: VisionModel, arguments: dict) -> None:
    """With the weights that it shares with the published architecture."""
    ablated = loud(small(**arguments))
    shared = {variable.path: variable for variable in model.weights}
    for variable in ablated.weights:
        if variable.path in shared and variable.shape == shared[variable.path].shape:
            variable.assign(shared[variable.path])
    assert np.abs(predicted(ablated) - predicted(model)).max() > 2e-3


@pytest.mark.parametrize("name", ["positions-first", "patch", "average", "conv-in-stage-1"])
def test_ablation_saves_and_reloads(name: str, tmp_path: Path) -> None:
    ablated = loud(small(**ABLATIONS[name]))
    ablated.save(tmp_path / "model.keras")
    again = keras_vit.load(tmp_path / "model.keras")
    assert again.config == ablated.config
    np.testing.assert_array_equal(predicted(again), predicted(ablated))


@pytest.mark.parametrize(
    ("arguments", "queries_and_keys"),
    [
        ({}, (64, 16)),
        ({"stride_kv": 1}, (64, 64)),
        ({"stride_kv": (1, 2, 2)}, (64, 64)),
        ({"projection": "linear"}, (64, 64)),
        ({"projection": "average"}, (64, 25)),  # ceil_mode: 5 windows on 8 pixels
    ],
)
def test_keys_of_the_first_stage(arguments: dict, queries_and_keys: tuple[int, int]) -> None:
    block = small(**arguments).get_layer("stages_0_blocks_0")
    assert block.attn.score_shape(block.input.shape)[2:] == queries_and_keys


def test_linear_projection_has_no_convolutions() -> None:
    paths = {variable.path for variable in small(projection="linear").weights}
    assert not [path for path in paths if "conv_proj" in path]


def test_average_projection_has_no_convolutions() -> None:
    paths = {variable.path for variable in small(projection="average").weights}
    assert not [path for path in paths if "conv_proj" in path]


def test_positions_of_a_tuple_of_stages() -> None:
    paths = {v.path for v in small(position_embedding=(True, False, True)).weights}
    found = sorted(path for path in paths if path.endswith("pos_embed"))
    assert found == ["stages_0_embed/pos_embed", "stages_2_embed/pos_embed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"projection": "max"}, "projection must be one of"),
        ({"token_embedding": "hash"}, 'token_embedding must be "conv" or "patch"'),
        ({"stride_kv": (1, 2)}, "stride_kv must have 3 values, one a stage"),
        ({"class_token": False}, "global_pool='token', class_token=False"),
        ({"global_pool": "max"}, "global_pool='max'"),
    ],
)
def test_contradictions_are_errors(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)


# Training


def test_drop_path_rises_linearly_within_each_stage() -> None:
    model = small(depth=(2, 2, 3), drop_path_rate=(0.1, 0.2, 0.4))
    rates = [layer.drop_path_rate for layer in model.layers if "blocks" in layer.name]
    assert rates == pytest.approx([0, 0.1, 0, 0.2, 0, 0.2, 0.4])


def test_one_drop_path_rate_is_the_last_stages() -> None:
    model = small(depth=(2, 2, 3), drop_path_rate=0.1)
    rates = [layer.drop_path_rate for layer in model.layers if "blocks" in layer.name]
    assert rates == pytest.approx([0, 0, 0, 0, 0, 0.05, 0.1])


def compiled(model: VisionModel, rate: float = 1e-3, eagerly: bool = True) -> VisionModel:
    """Eagerly unless the graph matters: a few steps of a small model take longer to trace."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, run_eagerly=eagerly, jit_compile=False)
    return model


def test_a_fit_step_moves_the_statistics_by_a_tenth() -> None:
    model = compiled(loud(small(depth=(1, 1, 1))), rate=0.0)
    embed, block = model.get_layer("stages_0_embed"), model.get_layer("stages_0_blocks_0")
    projection = block.attn.conv_proj_k
    mean, variance = (
        np.asarray(w).copy() for w in (projection.bn.moving_mean, projection.bn.moving_variance)
    )
    normed = np.asarray(block.norm1(embed(IMAGES)))
    padded = np.pad(normed, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = np.asarray(projection.conv(padded), "float64")
    model.fit(IMAGES, np.array([0, 1, 2]), batch_size=3, epochs=1, verbose=0)
    np.testing.assert_allclose(
        projection.bn.moving_mean, 0.9 * mean + 0.1 * seen.mean((0, 1, 2)), atol=1e-5
    )
    np.testing.assert_allclose(
        projection.bn.moving_variance, 0.9 * variance + 0.1 * seen.var((0, 1, 2)), atol=1e-5
    )


def test_fit_lowers_the_loss() -> None:
    keras.utils.set_random_seed(0)
    stages = {"embed_dim": (8, 12), "depth": (1, 1), "num_heads": (1, 2)}
    stages |= {"embed_kernel": (7, 3), "embed_stride": (4, 2), "embed_padding": (2, 1)}
    model = compiled(loud(small(num_classes=2, **stages)), rate=0.05, eagerly=False)
    x = np.concatenate([IMAGES + 1, IMAGES - 1] * 4)
    y = np.array([0, 0, 0, 1, 1, 1] * 4)
    history = model.fit(x, y, epochs=4, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_mixed_precision_fits_without_nan() -> None:
    model = compiled(small(dtype="mixed_bfloat16", depth=(1, 1, 1)))
    model.fit(IMAGES * 50, np.array([0, 1, 0]), epochs=2, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_mixed_precision_stays_near_float32(model: VisionModel) -> None:
    mixed = small(dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    expected, found = predicted(model), predicted(mixed)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.1 * expected.std()


def test_initial_weights_are_the_papers() -> None:
    """Normal of 0.02, but for convolutions, which keep torch's uniform (lib/models/cls_cvt.py)."""
    model = small(embed_dim=(64, 64, 64), num_classes=100)
    block, embed = model.get_layer("stages_2_blocks_0"), model.get_layer("stages_2_embed")
    for dense in (block.attn.proj_q, block.mlp.fc1, model.get_layer("head")):
        assert np.asarray(dense.kernel).std() == pytest.approx(0.02, rel=0.1)
    assert np.asarray(embed.cls_token).std() == pytest.approx(0.02, rel=0.5)
    depthwise = np.abs(block.attn.conv_proj_q.conv.kernel).max()
    assert depthwise == pytest.approx(1 / 3, rel=0.05)
    assert np.abs(embed.proj.kernel).max() == pytest.approx((9 * 64) ** -0.5, rel=0.05)


# Files


def test_reloads_in_a_fresh_process(model: VisionModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import keras_vit, keras, numpy as np, sys; folder = sys.argv[1];"
        "model = keras.saving.load_model(folder + '/model.keras');"
        "logits = model.predict(np.load(folder + '/images.npy'), verbose=0);"
        "np.save(folder + '/logits.npy', logits)"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), predicted(model), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("few_objects")
def test_quantized_model_reloads(tmp_path: Path) -> None:
    model = loud(small(depth=(1, 1, 1)))
    model.quantize("int8")
    expected = predicted(model)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(predicted(keras_vit.load(tmp_path / "model.keras")), expected)


@pytest.mark.parametrize("layout", ["official", "huggingface"])
def test_round_trip_is_bit_equal(model: VisionModel, layout: str, tmp_path: Path) -> None:
    first = keras_vit.save_weights(model, tmp_path / "first.safetensors", layout=layout)
    loaded = small(weights=first)
    second = keras_vit.save_weights(loaded, tmp_path / "second.safetensors", layout=layout)
    assert loaded.load_report.layout == layout
    before, after = load_file(first), load_file(second)
    assert before.keys() == after.keys()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    for found, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layout", ["official", "huggingface"])
def test_batch_counters_are_written_as_zero(
    model: VisionModel, layout: str, tmp_path: Path
) -> None:
    file = keras_vit.save_weights(model, tmp_path / "cvt.safetensors", layout=layout)
    counters = {n: a for n, a in load_file(file).items() if n.endswith("num_batches_tracked")}
    assert len(counters) == 3 * 4
    for counter in counters.values():
        assert (counter.dtype, counter.shape, int(counter)) == (np.int64, (), 0)


def test_channels_of_the_first_kernel_are_adapted(model: VisionModel, tmp_path: Path) -> None:
    file = keras_vit.save_weights(model, tmp_path / "cvt.safetensors", layout="official")
    grey = small(weights=file, in_chans=1)
    kernel, expected = (m.get_layer("stages_0_embed").proj.kernel for m in (grey, model))
    np.testing.assert_allclose(
        np.asarray(kernel), np.asarray(expected).sum(2, keepdims=True), atol=1e-6
    )
    assert [row[0] for row in grey.load_report.resized] == ["stage0.patch_embed.proj.weight"]


def test_kernels_of_another_size_are_not_resized(model: VisionModel, tmp_path: Path) -> None:
    file = keras_vit.save_weights(model, tmp_path / "cvt.safetensors", layout="official")
    with pytest.raises(CheckpointError, match=r"stage0\.patch_embed\.proj\.weight has the shape"):
        small(weights=file, token_embedding="patch")


def test_numerics() -> None:
    assert small().get_layer("stages_0_blocks_0").act == "quick_gelu"
    assert small(numerics="huggingface").get_layer("stages_0_blocks_0").act == "gelu"
