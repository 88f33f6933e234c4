"""What a run is computed with: versions and hardware, kept with it so that it can be repeated."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import keras

from keras_vit import __version__
from keras_vit.diagnosis import devices_of

# The packages that decide what numbers come out, Keras' own backend among them.
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow")


def environment() -> dict[str, Any]:
    """Plain JSON data: `backend`, `versions` by package, and `hardware` (processor, cores, devices)."""
    backend = keras.backend.backend()
    return {
        "backend": backend,
        "versions": {
            "keras_vit": __version__,
            "python": platform.python_version(),
            **{name: version for name in _PACKAGES if (version := _version(name))},
        },
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": list(devices_of(backend)),
        },
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name; Python itself knows only its architecture on Linux."""
    listing = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", listing.read_text()) if listing.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
