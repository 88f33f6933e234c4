"""Grouped steps: rates, decay, clipping, accumulation, averages; on every backend, compiled and not."""

import os
import subprocess
import sys
from pathlib import Path

import optimizer_cases
import pytest


@pytest.mark.parametrize("case", optimizer_cases.CASES, ids=lambda case: case.__name__)
def test_here(case):
    case(jit=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", optimizer_cases.LONG_CASES, ids=lambda case: case.__name__)
def test_here_for_longer(case):
    case(jit=False)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize(
    ("backend", "mode"),
    [
        ("tensorflow", "jit"),
        ("jax", "jit"),
        ("jax", "plain"),
        pytest.param("torch", "plain", marks=pytest.mark.parity),
    ],
)
def test_on_every_backend(backend, mode):
    script = Path(optimizer_cases.__file__)
    done = subprocess.run(
        [sys.executable, str(script), mode],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    expected = [case.__name__ for case in (*optimizer_cases.CASES, *optimizer_cases.LONG_CASES)]
    assert done.stdout.split() == expected, done.stderr[-3000:]
