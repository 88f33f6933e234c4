"""Torch checkpoints as torch itself writes and reads them, in a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_vit.errors import CheckpointError
from keras_vit.weights.files import open_checkpoint, write_safetensors

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed"),
]

WRITE = """
import argparse, pathlib, sys, warnings
import numpy as np, torch

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
base = torch.randn(6, 8)
state = {
    "weight": torch.randn(3, 4),
    "transposed": torch.randn(3, 4).T,
    "view.rows": base[2:4],
    "view.inner": base[1:5:2, 3:7],
    "view.one": base[5, 7],
    "param": torch.nn.Parameter(torch.randn(2, 2)),
    "steps": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "f64": torch.randn(3).double(),
    "f16": torch.randn(3).half(),
    "bf16": torch.randn(2, 5).bfloat16().T,
    "i32": torch.arange(3, dtype=torch.int32),
    "i16": torch.arange(3, dtype=torch.int16),
    "i8": torch.arange(3, dtype=torch.int8) - 2,
    "u8": torch.arange(3, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
}
expected = {
    name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
    for name, tensor in state.items()
}
np.savez(folder / "expected.npz", **expected)

network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
network(torch.randn(5, 4)).sum().backward()
optimizer = torch.optim.AdamW(network.parameters())
optimizer.step()
training = {
    "model": {"module." + name: tensor for name, tensor in state.items()},
    "model_ema": {"weight": state["weight"] * 0},
    "optimizer": optimizer.state_dict(),
    "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1).state_dict(),
    "epoch": 3,
    "best": torch.tensor(81.5),
    "accuracy": np.float64(81.5),
    "args": argparse.Namespace(lr=1e-3, output=folder, device=torch.device("cpu")),
}
for layout, new in (("zip", True), ("legacy", False)):
    def save(name, content):
        torch.save(content, folder / f"{name}-{layout}", _use_new_zipfile_serialization=new)
    save("state", state)
    save("training", training)
    save("network", network.state_dict())
    save("whole", network)
    save("quantized", {"q": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)})
    save("sparse", {"s": torch.eye(3).to_sparse()})
np.savez(folder / "network.npz", **{k: v.numpy() for k, v in network.state_dict().items()})
torch.jit.script(network).save(folder / "script-zip")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    subprocess.run([sys.executable, "-P", "-c", WRITE, str(folder)], check=True)
    return folder


LAYOUTS = pytest.mark.parametrize("layout", ["zip", "legacy"])


def assert_reads(path: Path, expected_path: Path) -> None:
    with np.load(expected_path) as expected, open_checkpoint(path) as checkpoint:
        assert checkpoint.keys() == expected.files
        for name in checkpoint:
            array = checkpoint.read(name)
            assert array.dtype == checkpoint.dtype(name) == expected[name].dtype, name
            assert array.shape == checkpoint.shape(name) == expected[name].shape, name
            assert array.flags.c_contiguous, name
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@LAYOUTS
@pytest.mark.parametrize("content", ["state", "training"])
def test_every_tensor_is_bit_equal(folder: Path, layout: str, content: str) -> None:
    assert_reads(folder / f"{content}-{layout}", folder / "expected.npz")


@LAYOUTS
def test_the_state_of_a_network(folder: Path, layout: str) -> None:
    assert_reads(folder / f"network-{layout}", folder / "network.npz")


@LAYOUTS
def test_averaged_weights(folder: Path, layout: str) -> None:
    with open_checkpoint(folder / f"training-{layout}", key="model_ema") as checkpoint:
        assert checkpoint.keys() == ["weight"]
        assert not checkpoint.read("weight").any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whole-zip", "state_dict()"),
        ("whole-legacy", "state_dict()"),
        ("quantized-zip", "_rebuild_qtensor"),
        ("sparse-zip", "_rebuild_sparse_tensor"),
        ("script-zip", "TorchScript"),
    ],
)
def test_what_is_no_plain_state_dict_is_refused(folder: Path, name: str, message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(folder / name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_torch_users_read_what_is_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    write_safetensors(tmp_path / "x.safetensors", {"w": array.T}, {"format": "pt"})
    code = (
        "import sys, numpy; from safetensors.torch import load_file\n"
        "numpy.save(sys.argv[2], load_file(sys.argv[1])['w'].numpy())"
    )
    arguments = [str(tmp_path / "x.safetensors"), str(tmp_path / "w.npy")]
    subprocess.run([sys.executable, "-P", "-c", code, *arguments], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), array.T)
