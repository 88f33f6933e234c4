"""Give a Keras model to another process, or to another precision, by a temporary `.keras` file."""

import importlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_vit.errors import UsageError
from keras_vit.export.child import ReloadError, first_line
from keras_vit.export.interface import output_of

_CONFIG = "config.json"  # inside the .keras archive


def save(model: keras.Model, path: Path) -> None:
    """Write the model's graph and weights, without its optimizer, losses and metrics.

    Raises:
        ReloadError: a layer that cannot describe itself.
    """
    try:
        keras.Model(model.inputs, output_of(model), name=model.name).save(path)
    except OSError:
        raise
    except Exception as error:
        raise ReloadError(f"the model cannot be saved: {first_line(error)}") from error


def load(path: Path) -> keras.Model:
    """The model of a file that `save` wrote, in this process and on this backend.

    Raises:
        ReloadError: a class that cannot be found or built here.
    """
    try:
        custom_objects = _custom_objects(_read_config(path))
        return keras.saving.load_model(path, custom_objects, compile=False)
    except Exception as error:
        # Keras wraps the reason in its own advice, once for every level of the model.
        reason = str(error).rsplit("Exception encountered:", 1)[-1].strip().splitlines()
        raise ReloadError(f"the model cannot be rebuilt: {''.join(reason[:1])}") from error


def search_path() -> list[str]:
    """Where this process finds modules, for `extend_search_path` in a child."""
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 "" is the current folder


def extend_search_path(entries: list[str]) -> None:
    """Find the user's modules too, after everything that is installed.

    At the end, because a user's folder may hold an `onnx.py` that is not ONNX.
    """
    sys.path.extend(entry for entry in entries if entry not in sys.path)


def policies(model: keras.Model) -> set[str]:
    """The names of all dtype policies in a model, such as `"mixed_bfloat16"`."""
    config = keras.saving.serialize_keras_object(model)
    return {name for item in _objects(config) if (name := _policy_name(item)) is not None}


def require_floating(names: set[str]) -> None:
    """Refuse a quantised model, whose float32 weights are gone.

    Raises:
        UsageError: one of the dtype policies is a quantised one.
    """
    quantized = sorted(name for name in names if "_from_" in name)
    if quantized:
        raise UsageError(
            f"the model is quantised ({quantized[0]}) and export writes float32; export the model as "
            "it was before quantize()"
        )


def is_float32(model: keras.Model) -> bool:
    """Whether every layer computes in float32."""
    return policies(model) <= {"float32"}


def save_float32(model: keras.Model, path: Path) -> keras.Model:
    """`save` the model in float32, and return it so: itself, or rebuilt where it is in another type.

    Raises:
        ReloadError: see `save` and `load`.
    """
    save(model, path)
    if is_float32(model):
        return model
    mixed = path.with_suffix(".mixed.keras")
    path.rename(mixed)
    _rewrite_as_float32(mixed, path)
    mixed.unlink()
    rebuilt = load(path)
    if not is_float32(rebuilt):
        kept = ", ".join(sorted(policies(rebuilt) - {"float32"}))
        raise ReloadError(f"a layer keeps its own type ({kept}) when it is rebuilt in float32")
    return rebuilt


def _rewrite_as_float32(source: Path, target: Path) -> None:
    """Copy a `.keras` file with every dtype policy replaced by float32; the weights stay as stored."""
    config = _read_config(source)
    for item in _objects(config):
        if _policy_name(item) is not None:
            item["config"] = {"name": "float32"}
        elif item.get("dtype") in _FLOATS:
            item["dtype"] = "float32"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        new.writestr(_CONFIG, json.dumps(config))
        for member in old.infolist():
            if member.filename != _CONFIG:
                with old.open(member) as reader, new.open(member, "w", force_zip64=True) as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)


_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def _policy_name(item: Mapping[str, Any]) -> str | None:
    """The name of a serialised dtype policy; None for anything else."""
    if not str(item.get("class_name", "")).endswith("DTypePolicy"):
        return None
    config = item["config"]
    # A quantised policy has no name of its own.
    return config.get("name") or f"{config['mode']}_from_{config['source_name']}"


def _read_config(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(_CONFIG))


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict in a nested configuration."""
    if isinstance(config, dict):
        yield config
    children = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict | list | tuple):
        for child in children:
            yield from _objects(child)


def _custom_objects(config: Mapping[str, Any]) -> dict[str, Any]:
    """The classes and functions in a configuration that are not Keras' own.

    Importing their module is what registers a registered one; an unregistered one is looked up by
    its name. `__main__` is another program in another process, so that it is only read, not imported.
    """
    found: dict[str, Any] = {}
    for item in _objects(config):
        module, name = item.get("module"), str(item.get("class_name"))
        if not module or module.split(".")[0] in {"keras", "builtins"}:
            continue
        if name == "function":
            name = item["config"]
        value = getattr(_module(module), name, None)
        if value is not None:
            found[item.get("registered_name") or name] = value
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
