"""Tensors that a library keeps jointly or apart, there and back."""

import numpy as np
import pytest

from keras_vit.errors import UsageError
from keras_vit.weights import rearranging
from keras_vit.weights.checkpoint import StoredTensor
from keras_vit.weights.rearranging import Change


def stored(**arrays: np.ndarray) -> dict[str, StoredTensor]:
    return {
        name.replace("__", "."): StoredTensor(array.shape, array.dtype, array.copy)
        for name, array in arrays.items()
    }


def unfolded(change: Change, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """What is read, each tensor of the shape and dtype that it announces."""
    found = {
        name: (tensor, tensor.read()) for name, tensor in change.unfold(stored(**arrays)).items()
    }
    for tensor, array in found.values():
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype)
    return {name: array for name, (_, array) in found.items()}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_the_class_tokens_position_is_added_to_it() -> None:
    change = rearranging.class_position("cls", "pos")
    cls, pos = noise(1, 1, 4), noise(1, 6, 4)
    found = unfolded(change, cls=cls, pos=pos)
    np.testing.assert_array_equal(found["cls"], cls + pos[:, :1])
    np.testing.assert_array_equal(found["pos"], pos[:, 1:])


def test_and_is_written_as_zero_so_that_reading_again_gives_the_same() -> None:
    change = rearranging.class_position("cls", "pos")
    cls, pos = noise(1, 1, 4), noise(1, 6, 4)
    written = change.fold({"cls": cls, "pos": pos})
    assert not written["pos"][:, 0].any()
    again = unfolded(change, **written)
    np.testing.assert_array_equal(again["cls"], cls)
    np.testing.assert_array_equal(again["pos"], pos)


def test_a_joint_projection_is_split_and_joined() -> None:
    change = rearranging.in_projection("in_", "q_", "kv_")
    weight, bias = noise(12, 4), noise(12)
    found = unfolded(change, in_weight=weight, in_bias=bias, other=noise(2))
    assert set(found) == {"q_weight", "q_bias", "kv_weight", "kv_bias", "other"}
    np.testing.assert_array_equal(found["q_weight"], weight[:4])
    np.testing.assert_array_equal(found["kv_bias"], bias[4:])
    again = change.fold(found)
    assert set(again) == {"in_weight", "in_bias", "other"}
    np.testing.assert_array_equal(again["in_weight"], weight)


def test_gate_and_value_are_joined() -> None:
    change = rearranging.joined(r"(.*)\.gate\.(\w+)", r"\1.up.\2", r"\1.both.\2")
    gate, up = noise(6, 4), noise(6, 4) + 1
    found = unfolded(change, a__gate__weight=gate, a__up__weight=up, b__gate__weight=gate)
    np.testing.assert_array_equal(found["a.both.weight"], np.concatenate([gate, up]))
    assert set(found) == {"a.both.weight", "b.gate.weight"}


def test_a_stack_is_read_block_by_block() -> None:
    change = rearranging.unstacked(r"blocks/(.*)", r"blocks_{}/\1")
    stack = noise(3, 4, 2)
    found = unfolded(change, **{"blocks/kernel": stack, "head": noise(2)})
    assert set(found) == {"blocks_0/kernel", "blocks_1/kernel", "blocks_2/kernel", "head"}
    np.testing.assert_array_equal(found["blocks_2/kernel"], stack[2])


def test_a_stack_is_read_from_its_file_once() -> None:
    reads = []

    def read() -> np.ndarray:
        reads.append(1)
        return np.zeros((3, 2), np.float32)

    change = rearranging.unstacked(r"blocks/(.*)", r"blocks_{}/\1")
    tensor = StoredTensor((3, 2), np.dtype(np.float32), read)
    for one in change.unfold({"blocks/bias": tensor}).values():
        one.read()
    assert len(reads) == 1


@pytest.mark.parametrize(("hidden", "name"), [(6, "w3"), (12, "fc2")])
def test_a_gated_perceptron_is_told_by_its_shapes(hidden: int, name: str) -> None:
    change = rearranging.gated_names((".fc1.", ".fc2."), (".w12.", ".w3."))
    written = change.fold({"a.fc1.weight": noise(12, 4), "a.fc2.weight": noise(4, hidden)})
    assert f"a.{name}.weight" in written
    assert set(change.unfold(dict.fromkeys(written))) == {"a.fc1.weight", "a.fc2.weight"}  # type: ignore[arg-type]


def test_a_missing_bias_is_zero_and_another_cannot_be_written() -> None:
    change = rearranging.without_bias("proj", "bias", axis=1)
    proj = noise(4, 3)
    found = unfolded(change, proj=proj)
    np.testing.assert_array_equal(found["bias"], np.zeros(3))
    assert set(change.fold(found)) == {"proj"}
    with pytest.raises(UsageError, match="proj has no bias there"):
        change.fold({"proj": proj, "bias": np.ones(3)})


def test_a_mask_token_is_not_read_and_written_as_zeros() -> None:
    change = rearranging.mask_token("mask", "cls")
    cls = noise(1, 1, 4)
    assert set(unfolded(change, mask=noise(1, 4), cls=cls)) == {"cls"}
    np.testing.assert_array_equal(change.fold({"cls": cls})["mask"], np.zeros((1, 4)))


@pytest.mark.parametrize(
    "change",
    [
        rearranging.class_position("x", "y"),
        rearranging.in_projection("x", "q", "kv"),
        rearranging.joined("x", "y", "z"),
        rearranging.unstacked("x", "x{}"),
        rearranging.without_bias("x", "y", 0),
    ],
)
def test_what_is_not_as_expected_stays(change: Change) -> None:
    """Loading then says which tensor is missing or of a wrong shape."""
    scalar = stored(x=np.zeros((), np.float32))
    assert change.unfold(scalar) == scalar
