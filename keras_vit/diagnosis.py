"""`doctor`: what is installed here, and whether a model can be built, exported and run with it."""

import dataclasses
import functools
import importlib.metadata
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_vit import __version__
from keras_vit.errors import KerasVitError

_DISTRIBUTION = "keras-vit-zoo"
_RUNTIME_EXTRAS = ("data", "torch", "jax")
_FORMATS = {"savedmodel": "model", "tflite": "model.tflite", "onnx": "model.onnx"}


@dataclass(frozen=True)
class Package:
    """A package that keras_vit uses.

    Attributes:
        name: on the package index.
        version: the installed one, or None.
        minimum: the oldest version that will do.
        extra: the extra of keras-vit-zoo that brings it, or None if it is always needed.
        install: the pip command that puts right what is missing or too old, or None.
    """

    name: str
    version: str | None
    minimum: str
    extra: str | None
    install: str | None


@dataclass(frozen=True)
class Trial:
    """Something that was tried.

    Attributes:
        name: `"keras"`, `"model"`, or an export format.
        passed: whether it worked.
        seconds: wall time.
        message: what was seen, or what went wrong, in one line.
    """

    name: str
    passed: bool
    seconds: float
    message: str


@dataclass(frozen=True)
class DoctorReport:
    """What `doctor` found.

    Attributes:
        keras_vit, python, system: versions.
        backend: Keras' backend, or None where Keras cannot be imported.
        devices: what the backend computes on, as it names them.
        packages: every package that keras_vit can use.
        trials: what was tried, in order; it ends where nothing more can work.
    """

    keras_vit: str
    python: str
    system: str
    backend: str | None
    devices: tuple[str, ...]
    packages: tuple[Package, ...]
    trials: tuple[Trial, ...]

    @property
    def passed(self) -> bool:
        """Whether all that is needed is there, and every trial worked."""
        needed = (package for package in self.packages if package.extra is None)
        return all(trial.passed for trial in self.trials) and not any(p.install for p in needed)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def doctor() -> DoctorReport:
    """Look at the installation, and take a tiny model through each of the export formats.

    Works, and says what is wrong, where Keras or its backend is missing or broken.

    Returns:
        The findings; `report.passed` is whether everything works that is not optional.
    """
    trials: list[Trial] = []
    backend = _try(trials, "keras", _backend)
    devices = devices_of(backend) if backend else ()
    model = _try(trials, "model", _Tiny) if backend else None
    if model is not None:
        for format in _FORMATS:
            _try(trials, format, functools.partial(_export, model, format))
    return DoctorReport(
        keras_vit=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        backend=backend,
        devices=devices,
        packages=tuple(_packages()),
        trials=tuple(trials),
    )


def _try(trials: list[Trial], name: str, work: Callable[[], Any]) -> Any:
    """Do the work and note how it went; returns what it gives, or None where it failed."""
    start = time.perf_counter()
    result = None
    try:
        result = work()
        passed, message = True, str(result)
    except Exception as error:  # whatever is broken here: that is the finding
        kind = "" if isinstance(error, KerasVitError) else f"{type(error).__name__}: "
        passed, message = False, kind + " ".join(str(error).split())
    trials.append(Trial(name, passed, round(time.perf_counter() - start, 2), message))
    return result


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def devices_of(backend: str) -> tuple[str, ...]:
    """What a backend computes on, as it names them."""
    if backend == "torch":  # keras.distribution does not know its devices
        import torch

        return ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))
    import keras

    return tuple(map(str, keras.distribution.list_devices()))


class _Tiny:
    """A small model with random weights, that says what it is."""

    def __init__(self) -> None:
        import numpy as np

        from keras_vit.loading import load

        self.model = load("test_vit", weights=None, image_size=32, num_classes=3, dtype="float32")
        logits = self.model.predict(np.zeros((1, 32, 32, 3), "float32"), verbose=0)
        if not np.isfinite(logits).all():
            raise KerasVitError(f"{self.model.name} computes {logits[0].tolist()}")

    def __str__(self) -> str:
        return f"{self.model.name} computes finite logits"


def _export(tiny: _Tiny, format: str) -> str:
    """Export, which reopens the file and compares it with the model."""
    from keras_vit.export import export_model

    with tempfile.TemporaryDirectory(prefix="keras_vit.doctor.") as folder:
        path = Path(folder, _FORMATS[format])
        report = export_model(tiny.model, path, format, preprocessing="normalize")
    return (
        f"by {report.converter}, largest difference {report.max_difference:.1e}, "
        f"{report.top1_agreement:.0%} top-1 agreement"
    )


def _packages() -> Iterator[Package]:
    """Those that this distribution requires, in its own order, and then the optional ones."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return
    pattern = re.compile(r"""([\w.-]+)(?:>=([\d.]+))?(?:\s*;\s*extra\s*==\s*['"](\w+)['"])?""")
    for requirement in requirements:
        found = pattern.fullmatch(requirement.strip())
        if found and found[3] in (None, *_RUNTIME_EXTRAS):
            yield _package(found[1], found[2] or "0", found[3])


def _package(name: str, minimum: str, extra: str | None) -> Package:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    command = (
        f"pip install '{_DISTRIBUTION}[{extra}]'" if extra else f"pip install '{name}>={minimum}'"
    )
    fine = version is not None and _numbers(version) >= _numbers(minimum)
    return Package(name, version, minimum, extra, None if fine else command)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (3, 15, 1) of `3.15.1.post2`."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
