"""Public names that are imported when they are first used, so that a package's import stays light."""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any


def lazy(
    package: str, names: Mapping[str, str], packages: Collection[str] = ()
) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562).

    Args:
        package: its `__name__`.
        names: public name -> the module of the package that has it. No module may be called like a name
            that it has: once imported, the module would take the name's place.
        packages: those in it that need no import statement of their own, as in `keras.layers`.
    """

    def __getattr__(name: str) -> Any:
        if name in packages:
            return importlib.import_module(f"{package}.{name}")
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{names[name]}"), name)

    return __getattr__
