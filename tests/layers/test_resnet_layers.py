"""Standardised convolutions, GroupNorm, the stem and the blocks of BiT and the hybrids."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vit import layers


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def convolve(x: np.ndarray, kernel: np.ndarray, strides: int, pads: tuple) -> np.ndarray:
    """By its definition, in float64: `pads` are zeros (before, after) for both axes."""
    x = np.pad(x.astype(np.float64), ((0, 0), pads, pads, (0, 0)))
    size = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::strides, ::strides]
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel)


def close(found: object, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.std())


# Standardised convolution


def standardized(kernel: np.ndarray, form: str, epsilon: float) -> np.ndarray:
    kernel = kernel.astype(np.float64)
    centred = kernel - kernel.mean((0, 1, 2))
    if form == "variance":
        return centred / np.sqrt(kernel.var((0, 1, 2)) + epsilon)
    return centred / (kernel.std((0, 1, 2)) + epsilon)


@pytest.mark.parametrize(("form", "epsilon"), [("variance", 1e-6), ("deviation", 1e-3)])
def test_kernels_are_standardised(form: str, epsilon: float) -> None:
    layer = layers.StandardizedConv2D(5, 3, epsilon=epsilon, form=form)
    x = noise(2, 6, 7, 4)
    layer.build(x.shape)
    layer.kernel.assign(1e-3 * noise(3, 3, 4, 5, seed=1))
    kernel = standardized(ops.convert_to_numpy(layer.kernel), form, epsilon)
    close(layer(x), convolve(x, kernel, 1, (1, 1)))


@pytest.mark.parametrize(
    ("padding", "size", "pads"),
    [
        ("symmetric", 8, (1, 1)),
        ("symmetric", 9, (1, 1)),
        ("same", 8, (0, 1)),
        ("same", 9, (1, 1)),
    ],
)
def test_padding_at_step_2(padding: str, size: int, pads: tuple) -> None:
    layer = layers.StandardizedConv2D(5, 3, strides=2, padding=padding)
    x = noise(2, size, size, 4)
    found = layer(x)
    kernel = standardized(ops.convert_to_numpy(layer.kernel), "variance", 1e-8)
    close(found, convolve(x, kernel, 2, pads))


def test_the_scale_of_a_kernel_does_not_matter_but_for_the_epsilon() -> None:
    layer = layers.StandardizedConv2D(5, 3)
    x = noise(1, 6, 6, 4)
    before = ops.convert_to_numpy(layer(x))
    layer.kernel.assign(100 * ops.convert_to_numpy(layer.kernel) + 1)
    np.testing.assert_allclose(layer(x), before, atol=1e-4)


def test_in_half_precision_the_kernel_is_standardised_in_float32() -> None:
    """In bfloat16 a kernel far from zero would lose all of its digits to the mean."""
    layer = layers.StandardizedConv2D(5, 3, dtype="mixed_bfloat16")
    x = noise(1, 6, 6, 4)
    layer.build(x.shape)
    layer.kernel.assign(100 + noise(3, 3, 4, 5, seed=1))
    kernel = standardized(ops.convert_to_numpy(layer.kernel), "variance", 1e-8)
    expected = convolve(x, kernel, 1, (1, 1))
    found = ops.convert_to_numpy(ops.cast(layer(x), "float32"))
    assert np.abs(found - expected).max() < 0.05 * expected.std()


@pytest.mark.parametrize("argument", ["padding", "form"])
def test_unknown_choice(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be one of"):
        layers.StandardizedConv2D(5, 3, **{argument: "other"})


# GroupNorm


def test_group_norm() -> None:
    layer = layers.GroupNorm(3, epsilon=0.1)
    x = noise(2, 4, 5, 6) + np.arange(6, dtype="float32")
    layer.build(x.shape)
    gamma, beta = noise(6, seed=1), noise(6, seed=2)
    layer.set_weights([gamma, beta])
    groups = x.astype(np.float64).reshape(2, 20, 3, 2)
    centred = groups - groups.mean((1, 3), keepdims=True)
    normal = centred / np.sqrt(groups.var((1, 3), keepdims=True) + 0.1)
    close(layer(x), normal.reshape(x.shape) * gamma + beta)


def test_group_norm_keeps_the_digits_of_a_large_mean() -> None:
    x = noise(2, 8, 8, 64)
    normal, shifted = layers.GroupNorm(32)(x), layers.GroupNorm(32)(x + 1000)
    np.testing.assert_allclose(shifted, normal, atol=1e-3)


def test_group_norm_of_a_constant_is_its_shift() -> None:
    np.testing.assert_array_equal(layers.GroupNorm(2)(np.full((1, 4, 4, 4), 512, "float32")), 0)


def test_group_norm_keeps_the_digits_of_a_flat_image() -> None:
    """Sums in sequence over 12,544 equal numbers would all round the same way."""
    x = flat_but_for_a_corner()
    expected = group_norm_in_float64(x, 2, 1e-5)
    # Sums of 112 equal numbers may err by 7e-5 here; of all pixels it is 6e-4 on TensorFlow.
    np.testing.assert_allclose(layers.GroupNorm(2, 1e-5)(x), expected, atol=7e-5)


def flat_but_for_a_corner() -> np.ndarray:
    """(1, 112, 112, 4) of a few large numbers, as a convolution makes of a flat image."""
    x = np.broadcast_to(np.array([7.3, 6.1, -9.7, -8.9], "float32"), (1, 112, 112, 4)).copy()
    x[:, :3, :3] *= 0.5
    return x


def group_norm_in_float64(x: np.ndarray, groups: int, epsilon: float) -> np.ndarray:
    wide = x.astype("float64").reshape(*x.shape[:3], groups, -1)
    mean, variance = (f(wide, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    return ((wide - mean) / np.sqrt(variance + epsilon)).reshape(x.shape)


def test_groups_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="groups=32, channels=48"):
        layers.GroupNorm()(noise(1, 2, 2, 48))


# Stem


def test_zeros_take_part_in_the_maximum_or_do_not() -> None:
    x = noise(1, 12, 12, 3)
    zero, same = (layers.ResNetStem(4, pool_padding=padding) for padding in ("zero", "same"))
    for layer in (zero, same):
        layer.build(x.shape)
    same.set_weights(zero.get_weights())
    map = np.asarray(zero.conv(x))
    padded = np.pad(map, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    np.testing.assert_array_equal(zero(x), windows[:, ::2, ::2].max((-1, -2)))
    padded = np.pad(map, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    np.testing.assert_array_equal(same(x), windows[:, ::2, ::2].max((-1, -2)))


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("size", [(31, 33), (32, 37), (1, 2)])
def test_a_stem_is_a_quarter_rounded_up(padding: str, size: tuple[int, int]) -> None:
    found = layers.ResNetStem(32, norm=True, padding=padding)(noise(1, *size, 3))
    assert tuple(found.shape) == (1, -(-size[0] // 4), -(-size[1] // 4), 32)


def test_unknown_pool_padding() -> None:
    with pytest.raises(ValueError, match="pool_padding must be one of"):
        layers.ResNetStem(4, pool_padding="other")


# Blocks


def test_pre_activation() -> None:
    block = layers.Bottleneck(128, strides=2, projection=True)
    x = noise(1, 7, 7, 32)
    block.build(x.shape)
    y = ops.relu(block.norm1(x))
    z = ops.relu(block.norm2(block.conv1(y)))
    z = block.conv3(ops.relu(block.norm3(block.conv2(z))))
    np.testing.assert_array_equal(block(x), block.downsample_conv(y) + z)


def test_post_activation() -> None:
    block = layers.Bottleneck(128, strides=2, pre_activation=False, projection=True)
    x = noise(1, 7, 7, 32)
    block.build(x.shape)
    y = ops.relu(block.norm2(block.conv2(ops.relu(block.norm1(block.conv1(x))))))
    y = block.norm3(block.conv3(y))
    shortcut = block.downsample_norm(block.downsample_conv(x))
    np.testing.assert_array_equal(block(x), ops.relu(shortcut + y))


def test_a_changed_shape_needs_a_projection() -> None:
    with pytest.raises(ValueError, match="needs a projection"):
        layers.Bottleneck(128)(noise(1, 4, 4, 64))


def test_the_papers_hybrid_block_starts_as_its_shortcut() -> None:
    block = layers.Bottleneck(128, pre_activation=False, weight_init="jax")
    x = np.abs(noise(1, 4, 4, 128))
    np.testing.assert_array_equal(block(x), x)


@pytest.mark.parametrize("pre_activation", [True, False])
def test_stochastic_depth_drops_the_branch_of_whole_images(pre_activation: bool) -> None:
    keras.utils.set_random_seed(0)
    block = layers.Bottleneck(128, pre_activation=pre_activation, drop_path_rate=0.5)
    x = np.abs(noise(40, 3, 3, 128))
    kept = np.array(
        [not np.array_equal(a, b) for a, b in zip(block(x, training=True), x, strict=True)]
    )
    assert 8 < kept.sum() < 32


def test_gradients_flow_through_the_standardisation() -> None:
    """Scaled kernels give the same map, so the gradient is orthogonal to the kernel of each channel."""
    import tensorflow as tf

    layer = layers.StandardizedConv2D(5, 3)
    x = noise(2, 6, 6, 4)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(x) * noise(2, 6, 6, 5, seed=3))
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    kernel = ops.convert_to_numpy(layer.kernel)
    along = (gradient * kernel).sum((0, 1, 2)) / np.linalg.norm(kernel.reshape(-1, 5), axis=0)
    assert np.abs(along).max() < 1e-3 * np.linalg.norm(gradient)
    assert np.abs(gradient.sum((0, 1, 2))).max() < 1e-3 * np.linalg.norm(gradient)


# Pooling


def test_map_pool() -> None:
    x = noise(2, 3, 4, 5)
    average, largest = x.mean((1, 2)), x.max((1, 2))
    expected = {"avg": average, "max": largest, "avgmax": (average + largest) / 2}
    for mode, value in expected.items():
        np.testing.assert_allclose(layers.MapPool(mode)(x), value, atol=1e-6)


def test_unknown_map_pool() -> None:
    with pytest.raises(ValueError, match="mode must be one of"):
        layers.MapPool("token")
