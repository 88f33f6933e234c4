"""Work on the next batches while one is used, by threads that end with the process."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_AHEAD = 2  # batches


@dataclass(frozen=True)
class Job:
    """Pieces that threads may do side by side, and what makes the result of them when all are done."""

    pieces: Sequence[Callable[[], None]]
    finish: Callable[[], Any]


class Ahead:
    """The result of job number t, of which the next ones have been begun meanwhile.

    Args:
        begin: from a number to its job; cheap. threads: that work. stop: no job from this number on.
    """

    def __init__(self, begin: Callable[[int], Job], threads: int, stop: int) -> None:
        self.begin, self.stop = begin, stop
        self._pool = ThreadPoolExecutor(threads)
        self._begun: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, number: int) -> Any:
        """Wait for a result.

        Raises:
            Exception: what a piece of the job raised.
        """
        wanted = range(number, min(number + 1 + _AHEAD, self.stop))
        with self._lock:
            # Another iterator may have been elsewhere: what it began is forgotten.
            self._begun = {n: job for n, job in self._begun.items() if n in wanted}
            for n in wanted:
                if n not in self._begun:
                    self._begun[n] = self._start(self.begin(n))
            result = self._begun.pop(number)
        return result.result()

    def _start(self, job: Job) -> "Future[Any]":
        result: Future[Any] = Future()
        lock = threading.Lock()
        left = len(job.pieces)

        def work(piece: Callable[[], None]) -> None:
            nonlocal left
            if result.done() or not threading.main_thread().is_alive():  # nobody waits for it
                return
            try:
                piece()
                with lock:
                    left -= 1
                    last = left == 0
                made = job.finish() if last else None
            except BaseException as error:
                with lock:
                    if not result.done():
                        result.set_exception(error)
                return
            if last:
                result.set_result(made)

        for piece in job.pieces:
            self._pool.submit(work, piece)
        return result
