"""Python functions that TensorFlow's threads call, and the end of the process.

A tf.data iterator makes batches ahead. When Python exits meanwhile, its threads can enter Python no more,
and the iterator's destructor waits for them without end. So at exit the calls are let run out first: the
next ones fail at once, and after a few, when the iterator's buffers are full, none comes.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

_SILENCE = 0.25  # seconds without a call, after which none is expected
_PATIENCE = 20.0  # seconds for the last image to be made


class Calls:
    """A function that ends its calls before Python ends."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._gate = _Gate()
        atexit.register(self._gate.close)
        # The gate alone outlives this object: what the function holds may be large.
        weakref.finalize(self, atexit.unregister, self._gate.close).atexit = False

    def __call__(self, *arguments: Any) -> Any:
        self._gate.enter()
        try:
            return self.function(*arguments)
        finally:
            self._gate.leave()


class _Gate:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.last = -_SILENCE
        self.closed = False

    def enter(self) -> None:
        with self.lock:
            self.last = time.monotonic()
            if self.closed:
                raise RuntimeError("Python is exiting")
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.last = time.monotonic()
            self.inside -= 1

    def close(self) -> None:
        """Let nobody in, and wait until nobody is inside and nobody has come for a while."""
        self.closed = True
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if not self.inside and time.monotonic() - self.last > _SILENCE:
                return
            time.sleep(0.01)
