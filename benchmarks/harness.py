"""Contenders in processes of their own, run in turns, and the ratios of their times.

Frameworks must not share a process: their thread pools disturb each other, and torchvision crashes
after TensorFlow. A worker builds its step once, then waits; one worker at a time runs, the others
sleep. Each round runs all contenders, in random order, so that a noise of the machine that lasts
longer than a round falls on all of them, and ratios are taken within a round.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """Seconds for one step: on the clock, and of all the process' threads."""

    wall: float
    cpu: float


class Worker:
    """A child process that runs a step on request.

    Args:
        script: a file beside this one, whose `main` ends in `serve`.
        spec: what it shall build, as JSON.
        threads: how many processors it may use; it is bound to the first ones.
        extra: environment variables.
    """

    def __init__(
        self,
        script: str,
        spec: Mapping[str, Any],
        threads: int,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        read, write = os.pipe()
        # What the frameworks print, shown if the worker fails; closed in `close`.
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, HERE / script, json.dumps({**spec, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[write],
            env=environment(threads, {**(extra or {}), "ANSWERS": str(write)}),
            text=True,
        )
        os.close(write)
        self.answers = os.fdopen(read)
        self._ready: dict[str, Any] | None = None

    @property
    def ready(self) -> dict[str, Any]:
        """What the worker said when it was ready to run; waits for that."""
        if self._ready is None:
            self._ready = self._answer()
        return self._ready

    def run(self, steps: int) -> Sample:
        """Runs `steps` steps; the time of one."""
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        answer = self._answer()
        return Sample(answer["wall"] / steps, answer["cpu"] / steps)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.answers.close()
        self.log.close()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"a worker ended: {self.log.read()[-3000:]}")
        return json.loads(line)


def environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """This process' environment for a child: its threads, no GPU, TensorFlow quiet, and `extra`."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **extra,
    }


def bind(threads: int) -> None:
    """In a worker, before it imports a framework: only the first `threads` processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(
    run: Callable[[int], Any],
    ready: Mapping[str, Any],
    cpu_clock: Callable[[], float] = process_time,
) -> None:
    """In a worker: says that it is ready, then times `run(steps)` until its input ends."""
    with os.fdopen(int(os.environ["ANSWERS"]), "w") as answers:
        print(json.dumps(ready), file=answers, flush=True)
        for line in sys.stdin:
            wall, cpu = perf_counter(), cpu_clock()
            run(int(line))
            times = {"wall": perf_counter() - wall, "cpu": cpu_clock() - cpu}
            print(json.dumps(times), file=answers, flush=True)


def interleave(workers: Mapping[str, Worker], rounds: int, steps: int) -> dict[str, list[Sample]]:
    """Samples of each worker, one a round, in random order within a round."""
    assert all(worker.ready for worker in workers.values())  # none still starts while another runs
    samples: dict[str, list[Sample]] = {name: [] for name in workers}
    order = list(workers)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            samples[name].append(workers[name].run(steps))
    return samples


def summary(
    samples: Mapping[str, Sequence[Sample]], baseline: str, clock: str
) -> dict[str, dict[str, float]]:
    """For each contender the median milliseconds and the median ratio to the baseline, by rounds.

    Args:
        samples: of each contender, a round each. baseline: one of them.
        clock: `"cpu"` or `"wall"`.

    Returns:
        By contender: `ms`, `ratio`, and `low` and `high`, the quartiles of the ratio.
    """
    times = {name: [getattr(s, clock) for s in taken] for name, taken in samples.items()}
    rows = {}
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times[baseline], strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        ms = statistics.median(taken) * 1e3
        rows[name] = {"ms": ms, "ratio": ratio, "low": low, "high": high}
    return rows
