"""Work in a fresh Python process: another Keras backend, native aborts, no trace left in this one.

`run_child` starts `python -P -m <module>`, hands it a JSON request and returns its JSON result; `serve`
is the other end. What the child prints goes to a log, whose tail becomes a note on the error when it
fails.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_vit.errors import ExportError, KerasVitError, UsageError
from keras_vit.export.limits import Limits

_LOG_TAIL = 40  # lines
_FULL = os.strerror(errno.ENOSPC)


class ReloadError(ExportError):
    """A model that cannot be rebuilt in another process."""


_ERRORS: dict[str, type[KerasVitError]] = {
    error.__name__: error for error in (ExportError, UsageError, ReloadError)
}


def run_child(module: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a module on a request in a fresh process, and return its result.

    Args:
        module: full name of a module that calls `serve` when it is run.
        request: JSON data.
        folder: takes the request, the result and the log.

    Raises:
        ExportError: the child died, or went beyond `Limits.of_environment()`; UsageError, ReloadError: as
            the child raised them.
    """
    limits, name = Limits.of_environment(), module.rpartition(".")[2]
    paths = {part: folder / f"{module}.{part}" for part in ("request", "result", "log")}
    paths["request"].write_text(json.dumps(request))
    paths["result"].unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", module]
    with paths["log"].open("wb") as log:
        # In a session of its own, so that Ctrl-C reaches this process alone and the child is ended
        # here. It holds our pipe: if we are killed, it sees the end of the pipe and stops too.
        process = subprocess.Popen(
            [*command, str(paths["request"]), str(paths["result"])],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
        try:
            limits.wait(process, name)
        except ExportError as error:
            raise _with_log(error, paths["log"]) from None
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    result = json.loads(paths["result"].read_text()) if paths["result"].is_file() else None
    if result is None:
        raise _with_log(ExportError(_death(name, process.returncode)), paths["log"])
    if "error" in result:
        raised = _ERRORS.get(result["error"], ExportError)(result["message"])
        raise _with_log(raised, paths["log"])
    return result


def _environment() -> dict[str, str]:
    """Ours, with Keras on TensorFlow, on the CPU: this process may hold the whole GPU."""
    return {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def _death(module: str, code: int) -> str:
    """Why a child that left no result ended, in one line."""
    if code == -signal.SIGKILL:
        return f"{module} was killed; the machine has probably run out of memory"
    if code < 0:
        return f"{module} was ended by {signal.Signals(-code).name} in native code"
    return f"{module} ended with exit code {code} and no result"


def _with_log(error: KerasVitError, log: Path) -> KerasVitError:
    """The error, with the last lines that the child printed as a note."""
    lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
    if lines:
        error.add_note("\n".join(["The process printed at the end:", *lines]))
    return error


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's main: request file -> `work` -> result file, errors included."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        result = work(json.loads(request_path.read_text()))
    except Exception as error:
        traceback.print_exc()
        known = type(error).__name__ in _ERRORS
        message = str(error) if known else f"{type(error).__name__}: {first_line(error)}"
        if _FULL in message:  # which TensorFlow buries in the names of its operations
            message = _FULL
        result = {"error": type(error).__name__, "message": message}
    unfinished = result_path.with_suffix(".part")
    unfinished.write_text(json.dumps(result))
    unfinished.replace(result_path)


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def _end_with_parent() -> None:
    """Stop this process when the parent's end of the pipe closes."""
    os.read(0, 1)
    os._exit(1)
