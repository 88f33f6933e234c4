"""Ctrl-C, and a request to end, as KeyboardInterrupt: whatever was begun is cleaned up on the way out."""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

_CLEANING = 5.0  # seconds in which a repeated signal is impatience
_AGAIN = 0.05  # seconds until a signal that was swallowed is sent again


class Interruption:
    """Watches SIGINT and SIGTERM from now on.

    A second signal must not cut short the cleaning up after the first. One that arrives where Python
    can only report an exception, such as a callback of the garbage collector, is sent again.

    Attributes:
        received: the numbers of the signals that were raised as KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._deaf_until = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            # One that is ignored (`nohup`, a shell's background job) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._raise)
        sys.unraisablehook = self._unraisable

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() < self._deaf_until:
            return
        self._deaf_until = time.monotonic() + _CLEANING
        self.received.append(number)
        raise KeyboardInterrupt

    def _unraisable(self, what: Any) -> None:
        if not (self.received and issubclass(what.exc_type, KeyboardInterrupt)):
            sys.__unraisablehook__(what)
            return
        self._deaf_until = 0.0
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), self.received[-1]))
        again.daemon = True
        again.start()
