"""Runs that are killed at random moments end with the bits of one that is not.

The run has dropout, stochastic depth, augmentation, Mixup and CutMix, layer decay and averaged weights.
"""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vit.training.run_folder import RunFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

SCRIPT = Path(__file__).with_name("killed_run.py")
SHORT = {
    "train": {
        "epochs": 2,
        "overrides": {
            "depth": 1,
            "embed_dim": 24,
            "num_heads": 2,
            "patch_size": 4,
            "drop_rate": 0.1,
            "drop_path_rate": 0.2,
        },
    }
}


def _start(folder: Path, settings: Mapping[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _kill(process: subprocess.Popen[str], steps: int, seconds: float) -> None:
    """SIGKILL some time after so many steps, unless the process has come to its end before."""
    assert process.stdout is not None
    for _ in range(steps):
        process.stdout.readline()
    time.sleep(seconds)
    process.kill()


def _end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=280)
    return process.returncode


def _state(folder: Path) -> tuple[int, str] | None:
    """Steps done, and their digest, as the newest checkpoint has them."""
    from killed_run import digest

    from keras_vit.training.checkpoints import CheckpointFile

    checkpoint = CheckpointFile(RunFolder(folder).last).read()
    return None if checkpoint is None else (checkpoint.record["step"], digest(checkpoint.arrays))


def _log(folder: Path) -> list[dict[str, str]]:
    with RunFolder(folder).log.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def _require_same_end(one: Path, other: Path) -> None:
    import keras_vit

    assert _state(one) == _state(other)
    assert _log(one) == _log(other)
    for name in ("model", "best"):
        models = [keras_vit.load(getattr(RunFolder(folder), name)) for folder in (one, other)]
        for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(autouse=True)
def script_importable(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


@pytest.mark.slow
def test_a_run_killed_while_it_writes_goes_on_to_the_same_bits(tmp_path):
    whole, part, digests = tmp_path / "whole", tmp_path / "part", tmp_path / "digests.json"
    # The third flush is of the first checkpoint of an epoch's middle, or soon after.
    processes = [
        _start(whole, {**SHORT, "digests": str(digests)}),
        _start(part, {**SHORT, "kill_at_flush": 4}),
    ]
    assert [_end(process) for process in processes] == [0, -signal.SIGKILL]
    state = _state(part)
    assert state is None or state[1] == json.loads(digests.read_text())[str(state[0])]
    assert _end(_start(part, SHORT)) == 0
    _require_same_end(whole, part)


@pytest.mark.slow
def test_twelve_kills_at_random_moments(tmp_path):
    whole, part, digests = tmp_path / "whole", tmp_path / "part", tmp_path / "digests.json"
    assert _end(_start(whole, {"digests": str(digests)})) == 0
    passed = json.loads(digests.read_text())
    total = max(map(int, passed))
    draws = random.Random(5)
    killed, seen = 0, []
    while killed < 12:
        if killed % 3 == 2:  # in the middle of writing something
            process = _start(part, {"kill_at_flush": draws.randint(2, 6)})
        else:
            process = _start(part, {})
            _kill(process, draws.randint(1, 7), draws.random() * 0.3)
        code = _end(process)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        state = _state(part)
        if state is not None:
            assert state[1] == passed[str(state[0])], f"after kill {killed}, at step {state[0]}"
            seen.append(state[0])
        if code == 0 and killed < 12:  # it was faster than the kill: the rest kills a second run
            _require_same_end(whole, part)
            part = tmp_path / f"part{killed}"
    assert len(set(seen)) > 3 and seen[0] < total
    assert _end(_start(part, {})) == 0
    _require_same_end(whole, part)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.parity)])
def test_a_killed_run_on_other_backends(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert _end(_start(whole, SHORT)) == 0
    process = _start(part, SHORT)
    _kill(process, 4, 0.0)
    assert _end(process) == -signal.SIGKILL
    assert _end(_start(part, SHORT)) == 0
    _require_same_end(whole, part)
