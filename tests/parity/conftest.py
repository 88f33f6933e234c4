"""References and comparisons run in processes of their own: torchvision crashes after TensorFlow."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """`run(script, *arguments, **environment)`: the last line that a script of this folder prints."""
    return _run


def _run(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-P", str(HERE / script), *arguments]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE)}
    environment = {**os.environ, **quiet, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return (done.stdout.splitlines() or [""])[-1]
