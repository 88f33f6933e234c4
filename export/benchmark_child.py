"""The child process of `benchmark`: opens one file, then runs it whenever it is asked to."""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_RUNTIMES = {
    "onnx": "onnxruntime",
    "tflite": "ai_edge_litert.interpreter",
    "savedmodel": "tensorflow",
    "keras": "keras_vit.models",
}
"""What a format is run by: imported before memory and time are taken."""


def main(path: Path, format: str, threads: int, answers: Path) -> None:
    """Open the file, save its answers to the structured images, and time what stdin asks for.

    A line of stdin is a number of images, for which a line with `wall` and `cpu` seconds comes back, or
    `memory`, for the bytes that the file took. The first line that comes tells the seconds of opening.
    """
    _use(threads, format)
    importlib.import_module(_RUNTIMES[format])
    from keras_vit.export.artifact import open_artifact
    from keras_vit.export.limits import resident
    from keras_vit.export.verify import test_images

    before = resident(os.getpid()) or _peak()
    start = time.perf_counter()
    artifact = open_artifact(path, threads)
    seconds = time.perf_counter() - start
    images = test_images(artifact)
    np.save(answers, artifact.predict(images))
    alike = artifact.preprocessing_mode in ("none", "normalize")
    _say({"seconds": seconds, "seen": images.shape[1:] if alike else None})
    for line in sys.stdin:
        if line.strip() == "memory":
            _say({"memory": _peak() - before})
            continue
        batch = np.resize(images, (int(line), *images.shape[1:]))
        wall, cpu = time.perf_counter(), time.process_time()
        artifact.run(batch)
        _say({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})


def _use(threads: int, format: str) -> None:
    """Let this process use so many processors, and TensorFlow so many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if format == "savedmodel":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _peak() -> int:
    """The most bytes of memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _say(what: dict[str, Any]) -> None:
    os.write(_ANSWERS, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    _ANSWERS = int(sys.argv[1])
    main(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
