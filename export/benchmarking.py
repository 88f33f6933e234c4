"""`benchmark`: size, time, memory and answers of model files of any format, side by side."""

import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from keras_vit.errors import ExportError, UsageError
from keras_vit.export.agreement import agree
from keras_vit.export.formats import recognise
from keras_vit.export.sidecar import size_of


@dataclass(frozen=True)
class Latency:
    """Time for a number of images.

    Attributes:
        images: how many at once; a file of a fixed batch takes them a batch after the other.
        milliseconds, low, high: on the clock, median and quartiles of the rounds.
        cpu_milliseconds: of all threads, median.
        ratio: the median, over the rounds, of `milliseconds` over the first file's.
    """

    images: int
    milliseconds: float
    low: float
    high: float
    cpu_milliseconds: float
    ratio: float


@dataclass(frozen=True)
class Measurement:
    """What `benchmark` found out about a file.

    Attributes:
        path, format: of the file. size: its bytes.
        load_seconds: to open it, its runtime being imported already.
        latencies: for each number of images.
        memory: bytes that the process grew by at most, from the imported runtime on; nothing is in it of
            what the runtime itself takes.
        max_difference, cosine, top1_agreement: with the first file, over structured images: the largest
            difference of an answer, the mean cosine, and the share of the same top-1, 0..1. None where
            the two do not take the same images or give other answers.
    """

    path: str
    format: str
    size: int
    load_seconds: float
    latencies: tuple[Latency, ...]
    memory: int
    max_difference: float | None
    cosine: float | None
    top1_agreement: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def benchmark(
    files: Sequence[str | os.PathLike[str]],
    *,
    batch_sizes: Sequence[int] = (1, 8),
    threads: int = 1,
    rounds: int = 9,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Measurement, ...]:
    """Measure model files side by side: each in a process of its own, one running at a time.

    The files take turns in random order, so that what disturbs the machine falls on all of them; trust
    the ratios, which are taken within a round, more than the milliseconds.

    Args:
        files: `.keras`, `.tflite`, `.onnx` files and SavedModels, in any mixture; the others are compared
            with the first.
        batch_sizes: numbers of images to time.
        threads: processors that a file may use.
        rounds: how often each is timed, after one round that is not counted.
        progress: called with (rounds done, rounds).

    Returns:
        A measurement a file, in their order.

    Raises:
        UsageError: no such file, or a number that is not positive.
        ExportError: a file that cannot be opened or run.
    """
    if not files or not batch_sizes or min(*batch_sizes, threads, rounds, 1) < 1:
        raise UsageError("files, batch_sizes, threads and rounds have to be given and positive")
    paths = [Path(file) for file in files]
    formats = [recognise(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="keras_vit.benchmark.") as folder, ExitStack() as stack:
        workers = [
            stack.enter_context(_Worker(path, format, threads, Path(folder, f"{index}.npy")))
            for index, (path, format) in enumerate(zip(paths, formats, strict=True))
        ]
        load = [
            worker.ready["seconds"] for worker in workers
        ]  # none runs while another still opens
        samples = _rounds(workers, batch_sizes, rounds, progress)
        memory = [worker.ask("memory")["memory"] for worker in workers]
        return tuple(
            Measurement(
                path=str(path),
                format=worker.format,
                size=size_of(path),
                load_seconds=load[index],
                latencies=tuple(
                    _latency(count, samples[count][index], samples[count][0])
                    for count in batch_sizes
                ),
                memory=memory[index],
                **_comparison(workers[0], worker),
            )
            for index, (path, worker) in enumerate(zip(paths, workers, strict=True))
        )


class _Worker:
    """A child process with one file open, that runs it when asked."""

    def __init__(self, path: Path, format: str, threads: int, answers: Path) -> None:
        self.path, self.format, self.answers = path, format, answers
        read, write = os.pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed in __exit__
        command = [sys.executable, "-P", "-m", "keras_vit.export.benchmark_child", str(write)]
        self._process = subprocess.Popen(
            [*command, str(path), format, str(threads), str(answers)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[write],
            env=_environment(threads),
            text=True,
        )
        os.close(write)
        self._said = os.fdopen(read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()
        self._log.close()

    @cached_property
    def ready(self) -> dict[str, Any]:
        """What it said when the file was open; waits for that."""
        return self._answer()

    def ask(self, what: str | int) -> dict[str, Any]:
        """Send a line, and wait for what comes back."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._said.readline()
        if line:
            return json.loads(line)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        raise ExportError(f"{self.path} cannot be run: {said[-1] if said else 'no message'}")


def _environment(threads: int) -> dict[str, str]:
    """On the CPU, with so many threads."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


Samples = dict[int, list[list[Mapping[str, float]]]]
"""Number of images -> file -> round -> `wall` and `cpu` seconds."""


def _rounds(
    workers: Sequence[_Worker],
    batch_sizes: Sequence[int],
    rounds: int,
    progress: Callable[[int, int], None] | None,
) -> Samples:
    samples: Samples = {count: [[] for _ in workers] for count in batch_sizes}
    turns = [(index, count) for index in range(len(workers)) for count in batch_sizes]
    for done in range(rounds + 1):
        for index, count in random.sample(turns, len(turns)):
            sample = workers[index].ask(count)
            if done:  # the first round finds caches cold and graphs uncompiled
                samples[count][index].append(sample)
        if progress is not None and done:
            progress(done, rounds)
    return samples


def _latency(
    images: int, own: Sequence[Mapping[str, float]], first: Sequence[Mapping[str, float]]
) -> Latency:
    wall = [1e3 * sample["wall"] for sample in own]
    low, middle, high = statistics.quantiles(wall, n=4) if len(wall) > 1 else wall * 3
    return Latency(
        images=images,
        milliseconds=middle,
        low=low,
        high=high,
        cpu_milliseconds=statistics.median(1e3 * sample["cpu"] for sample in own),
        ratio=statistics.median(a["wall"] / b["wall"] for a, b in zip(own, first, strict=True)),
    )


def _comparison(first: _Worker, other: _Worker) -> dict[str, float | None]:
    """The answers of two files to the same images."""
    nothing = dict.fromkeys(("max_difference", "cosine", "top1_agreement"))
    seen = first.ready["seen"]
    if seen is None or other.ready["seen"] != seen:
        return nothing
    one, two = np.load(first.answers), np.load(other.answers)
    if one.shape != two.shape:
        return nothing
    found = agree(one, two)
    return {
        "max_difference": float(np.abs(one.astype(np.float64) - two).max()),
        "cosine": found.cosine_mean,
        "top1_agreement": found.top1_agreement,
    }
