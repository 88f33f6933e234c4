"""Ctrl-C: one line, exit code 130, no file and no process left behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send a signal; the exit code, and what else was said on stderr."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def _wait(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it did not get to work"
        time.sleep(0.02)


def _processes_about(folder: Path) -> list[str]:
    """The command lines that name the folder, of all processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found


_STUBBORN = """
import gc, os, signal, sys, time
import click
from keras_vit.cli.running import run

@click.command()
def command():
    try:
        {work}
    finally:
        {cleaning}

sys.exit(run(command, ["--"]))
"""
_SIGNAL = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.fixture
def run(tmp_path):
    """Runs a command with this body; returns its exit code, stdout and stderr."""

    def run(work: str, cleaning: str) -> tuple[int, str, str]:
        (tmp_path / "stubborn.py").write_text(_STUBBORN.format(work=work, cleaning=cleaning))
        result = subprocess.run(
            [sys.executable, "-m", "stubborn"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return result.returncode, result.stdout, result.stderr

    return run


def test_impatience_does_not_cut_the_cleaning_up_short(run):
    cleaning = f"{_SIGNAL}; time.sleep(0.2); print('clean')"
    assert run(f"{_SIGNAL}; time.sleep(9)", cleaning) == (130, "clean\n", "error: interrupted\n")


def test_an_interruption_that_python_swallows_comes_again(run):
    callback = (
        f"gc.callbacks.append(lambda *_: gc.callbacks.clear() or {_SIGNAL} or time.sleep(0.1))"
    )
    assert run(f"{callback}; gc.collect(); time.sleep(9)", "print('clean')") == (
        130,
        "clean\n",
        "error: interrupted\n",
    )


def test_an_interruption_of_generated_code_has_its_exit_code(run):
    code = f"{_SIGNAL}; time.sleep(9)"
    work = f"exec({code!r}, globals())"
    assert run(work, "print('clean')") == (130, "clean\n", "error: interrupted\n")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_training(start_cli, tiny, tmp_path, number):
    process = start_cli(
        "train", *tiny, "--data", "digits", "--epochs", "1000", "--output", "x.keras", cwd=tmp_path
    )
    assert process.stderr.readline().startswith("epoch 1/1000")
    code, err = _interrupt(process, number)
    assert code == 128 + number
    assert err.splitlines()[-1] == "error: interrupted"
    assert [line for line in err.splitlines()[:-1] if not line.startswith("epoch ")] == []
    assert list(tmp_path.iterdir()) == []


def test_exporting(start_cli, tiny, tmp_path):
    output = tmp_path / "x.onnx"
    process = start_cli("export", "onnx", *tiny, "--output", output, cwd=tmp_path)
    # The hidden folder with the model in it: the child that converts is at work.
    _wait(process, lambda: any(tmp_path.glob(".x.onnx.*/*.log")))
    code, err = _interrupt(process, signal.SIGINT)
    assert (code, err) == (130, "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []
    assert _processes_about(tmp_path) == []
