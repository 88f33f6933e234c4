"""Registers our layers with Keras when Keras is there, without importing it.

`keras.saving.load_model` finds only classes that are registered, and a class is registered when its
module is imported. Importing them with `keras_vit` would import Keras too, which `keras_vit.list_models`
and the command line must not wait for. So they are imported right after Keras is, whichever comes first.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _ThenRegister(Loader):
    """Runs Keras' own loader, then imports our classes."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        importlib.import_module("keras_vit.models")


class _KerasWatch(MetaPathFinder):
    """Finds only `keras`, once: the finders after it do the finding."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec and spec.loader:
            spec.loader = _ThenRegister(spec.loader)
        return spec


def register() -> None:
    """Makes `keras.saving.load_model` know our classes, now or as soon as Keras is imported."""
    if sys.modules.get("keras"):
        importlib.import_module("keras_vit.models")
    else:
        sys.meta_path.insert(0, _KerasWatch())
