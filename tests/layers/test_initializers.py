import numpy as np
import pytest

from keras_vit.layers import WeightInit, skip_initialization

SHAPE = (256, 768)
EXPECTED_STD = {
    ("timm", "kernel"): 0.02,
    ("timm", "qkv"): 0.02,
    ("timm", "head"): 0.02,
    ("timm", "token"): 1e-6,
    ("timm", "pos_embed"): 0.02,
    ("jax", "kernel"): (2 / (256 + 768)) ** 0.5,
    ("jax", "qkv"): (2 / (256 + 256)) ** 0.5,  # each of query, key and value by itself
    ("jax", "mlp_bias"): 1e-6,
    ("jax", "pos_embed"): 0.02,
}


@pytest.mark.parametrize(("which", "std"), EXPECTED_STD.items())
def test_spread(which: tuple[str, str], std: float) -> None:
    assert np.std(np.asarray(WeightInit(*which)(SHAPE))) == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("role", ["head", "token"])
def test_the_papers_zeros(role: str) -> None:
    assert not np.asarray(WeightInit("jax", role)(SHAPE)).any()


def test_patch_kernel_as_torch_conv2d() -> None:
    values = np.asarray(WeightInit("timm", "patch")((16, 16, 3, 64)))
    assert 0.99 < np.abs(values).max() * (16 * 16 * 3) ** 0.5 <= 1


def test_skip_leaves_zeros_but_for_the_roles_kept() -> None:
    with skip_initialization(keep=("head",)):
        assert not np.asarray(WeightInit("timm", "kernel")(SHAPE)).any()
        assert np.asarray(WeightInit("timm", "head")(SHAPE)).any()
    assert np.asarray(WeightInit("timm", "kernel")(SHAPE)).any()


def test_unknown_scheme() -> None:
    with pytest.raises(ValueError, match="'xavier'"):
        WeightInit("xavier", "kernel")
