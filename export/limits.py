"""How long a child process may take, and how much memory.

A converter that needs more memory than there is would otherwise take the whole machine, or the process
that waits for it, down with it.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keras_vit.errors import ExportError, UsageError

_POLL = 0.1  # seconds
_SECONDS, _GIGABYTES = "KERAS_VIT_CHILD_SECONDS", "KERAS_VIT_CHILD_GIGABYTES"


@dataclass(frozen=True)
class Limits:
    """What a child process may use.

    Attributes:
        seconds: of wall time.
        gigabytes: of resident memory; looked at where the system tells it in /proc, as Linux does.
    """

    seconds: float
    gigabytes: float

    @classmethod
    def of_environment(cls) -> Self:
        """`KERAS_VIT_CHILD_SECONDS`, else an hour; `KERAS_VIT_CHILD_GIGABYTES`, else 90 % of the memory.

        Raises:
            UsageError: one of them is not a positive number.
        """
        return cls(_positive(_SECONDS, 3600.0), _positive(_GIGABYTES, 0.9 * _memory() / 1e9))

    def wait(self, process: "subprocess.Popen[bytes]", name: str) -> None:
        """Wait until the process ends.

        Raises:
            ExportError: it went beyond a limit. It is still running.
        """
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            try:
                process.wait(_POLL)
                return
            except subprocess.TimeoutExpired:
                if resident(process.pid) > 1e9 * self.gigabytes:
                    raise ExportError(
                        f"{name} took more than {self.gigabytes:.3g} GB of memory and was ended; "
                        f"{_GIGABYTES} allows it more"
                    ) from None
        raise ExportError(
            f"{name} took more than {self.seconds:g} s and was ended; {_SECONDS} allows it more"
        )


def _positive(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UsageError(f"{variable} has to be a positive number, not {text!r}")
    return value


def _memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where that cannot be seen."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
