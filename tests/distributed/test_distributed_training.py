"""Several devices, and several processes, give the losses of one device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("distributed_run.py")
STEPS = 22
pytestmark = pytest.mark.slow


def _start(
    backend: str, output: Path, devices: int, changes: Mapping[str, str] | None = None, **more: Any
) -> subprocess.Popen[str]:
    settings = {"devices": devices, "output": str(output), **more}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend, **(changes or {})},
    )


# Queries, keys, values and gate in projections of their own.
EVA = {"model": "eva02_base_patch14_448"}
# An epsilon beside which a gradient's last bit is small.
ADAM = {"settings": {"optimizer": "adamw", "epsilon": 1e-2}}


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1].removeprefix("result "))


def _workers(tmp_path: Path, name: str, kill: int | None = None, **more: Any) -> list[Any]:
    """Two processes with one device each; `kill`: the number of the one that kills itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port},127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    train = {"distribute": "multiworker", "resume": True}
    return [
        _start(
            "jax",
            tmp_path / name,
            1,
            {**common, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)},
            train=train,
            **({"kill_at": 8} if number == kill else {}),
            **more,
        )
        for number in range(2)
    ]


def _require_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert len(found["losses"]) == STEPS
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["epochs"], expected["epochs"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "kind", "more", "split"),
    [
        ("tensorflow", "mirrored", {}, 0),
        ("tensorflow", "mirrored", ADAM, 0),
        ("jax", "data-parallel", {}, 0),
        ("jax", "model-parallel", {}, 2 * 6),
        ("jax", "model-parallel", EVA, 2 * 11),
    ],
    ids=["mirrored", "mirrored-adam", "data-parallel", "model-parallel", "model-parallel-eva"],
)
def test_two_devices(backend, kind, more, split, tmp_path):
    expected = _result(_start(backend, tmp_path / "one", 1, **more))
    found = _result(_start(backend, tmp_path / "two", 2, train={"distribute": kind}, **more))
    assert found["split"] == split
    _require_same(found, expected)


def test_two_processes(tmp_path):
    expected = _result(_start("jax", tmp_path / "one", 1))
    for found in map(_result, _workers(tmp_path, "two")):
        _require_same(found, expected)


def test_a_killed_worker_comes_back_and_the_run_ends_as_without(tmp_path):
    whole, part = (str(tmp_path / f"{name}.npz") for name in ("whole", "part"))
    for process in _workers(tmp_path, "whole", weights=whole):
        _result(process)
    survivor, killed = _workers(tmp_path, "part", kill=1)
    assert killed.wait(timeout=280) == -signal.SIGKILL
    time.sleep(1)
    survivor.kill()  # as a launcher does: without the other, it can but wait
    survivor.communicate()
    ended = [_result(process) for process in _workers(tmp_path, "part", weights=part)]
    assert all(0 < len(found["losses"]) < STEPS for found in ended)
    for a, b in zip(np.load(whole).values(), np.load(part).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
