"""Threads that decode images: Pillow lets go of the interpreter lock, so they are enough."""

import os
from concurrent.futures import ThreadPoolExecutor

_MOST = 16


def processors() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def decoders() -> ThreadPoolExecutor:
    """A pool of one thread a processor, 16 at most."""
    return ThreadPoolExecutor(min(_MOST, processors()))
