import os
import sys
import time
from pathlib import Path

import pytest

from keras_vit.errors import ExportError, UsageError
from keras_vit.export.child import run_child

CHILD = """
import os, signal, sys
from keras_vit.errors import UsageError
from keras_vit.export.child import serve

def main(request):
    print("working on it", file=sys.stderr, flush=True)
    match request["do"]:
        case "echo": return {"got": request["value"], "backend": os.environ["KERAS_BACKEND"]}
        case "abort": os.abort()
        case "kill": os.kill(os.getpid(), signal.SIGKILL)
        case "exit": os._exit(3)
        case "usage": raise UsageError("batch is odd")
        case "sleep": import time; time.sleep(60)
        case "grow": held = b"x" * 1_000_000_000; signal.pause()
        case "full": raise RuntimeError("{{function_node x}} No space left on device [Op:SaveV2]")
        case "bug": raise ZeroDivisionError("division by zero\\nsecond line")
        case "wait":
            open(request["pid"], "w").write(str(os.getpid()))
            signal.pause()

if __name__ == "__main__":
    serve(main)
"""


@pytest.fixture(autouse=True)
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_result_comes_back(tmp_path: Path) -> None:
    result = run_child("odd_child", {"do": "echo", "value": [1, None]}, tmp_path)
    assert result == {"got": [1, None], "backend": "tensorflow"}


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        ("abort", ExportError, "odd_child was ended by SIGABRT in native code"),
        ("kill", ExportError, "run out of memory"),
        ("exit", ExportError, "exit code 3"),
        ("usage", UsageError, "batch is odd"),
        ("full", ExportError, "No space left on device"),
        ("bug", ExportError, "ZeroDivisionError: division by zero"),
    ],
)
def test_every_end_is_one_line(
    tmp_path: Path, do: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        run_child("odd_child", {"do": do}, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "working on it" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("do", "variable", "limit", "message"),
    [
        ("sleep", "KERAS_VIT_CHILD_SECONDS", "3", "odd_child took more than 3 s and was ended"),
        ("grow", "KERAS_VIT_CHILD_GIGABYTES", "0.5", "took more than 0.5 GB of memory"),
    ],
)
def test_child_beyond_a_limit_is_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    do: str,
    variable: str,
    limit: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, limit)
    with pytest.raises(ExportError, match=message) as caught:
        run_child("odd_child", {"do": do}, tmp_path)
    assert variable in str(caught.value)


def test_limit_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_VIT_CHILD_SECONDS", "soon")
    with pytest.raises(UsageError, match="KERAS_VIT_CHILD_SECONDS has to be a positive number"):
        run_child("odd_child", {"do": "echo", "value": 1}, tmp_path)


def test_interruption_ends_the_child(tmp_path: Path) -> None:
    """What Ctrl-C does to the waiting parent, by a trace function that raises it there."""
    pid_file = tmp_path / "pid"
    parent = f"""
import signal, sys, threading, time, os
from pathlib import Path
from keras_vit.export.child import run_child
pid = Path({str(pid_file)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
def interrupt():
    while not (pid.exists() and pid.read_text()): time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    run_child("odd_child", {{"do": "wait", "pid": str(pid)}}, pid.parent)
except KeyboardInterrupt:
    sys.exit(7)
"""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", parent]) == 7
    assert_gone(int(pid_file.read_text()))


def test_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = f"""
from pathlib import Path
from keras_vit.export.child import run_child
pid = Path({str(pid_file)!r})
run_child("odd_child", {{"do": "wait", "pid": str(pid)}}, pid.parent)
"""
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", parent])
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process, 9)
    os.waitpid(process, 0)
    assert_gone(int(pid_file.read_text()))


def assert_gone(pid: int) -> None:
    """The process ends within ten seconds; one that waits to be reaped has ended."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is still running")
