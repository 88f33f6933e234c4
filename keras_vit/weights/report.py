"""What became of each tensor of a checkpoint."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class LoadReport:
    """Tensor by tensor, how a model got its weights.

    Tensors are called as the layout's table spells them: a prefix such as `opt/target/` is left out, and
    transformers' names are those of the hub's files.

    Attributes:
        source: the file or hub entry that was read.
        layout: whose tensor names it has, such as `"timm"`.
        loaded: names of the tensors that were copied.
        resized: `(name, shape in the file, shape in the model, method)` of those that were resized.
        reinitialised: the model's weights that were not read, such as a new head.
        unused: names in the file that the model has no place for.
        numerics: whose arithmetic the model follows, such as `"timm"`.
        settings: `(argument, value)` of what the checkpoint's own config.json set instead.
    """

    source: str
    layout: str
    loaded: tuple[str, ...] = ()
    resized: tuple[tuple[str, tuple[int, ...], tuple[int, ...], str], ...] = ()
    reinitialised: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    numerics: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**{key: _tuples(value) for key, value in data.items()})

    def __str__(self) -> str:
        lines = [f"{self.source} ({self.layout}): {len(self.loaded)} tensors loaded"]
        lines += [f"  numerics: {self.numerics}"] if self.numerics else []
        lines += [f"  {name}={value!r}, as its config.json says" for name, value in self.settings]
        lines += [f"  resized {n}: {a} -> {b}, {how}" for n, a, b, how in self.resized]
        lines += [f"  re-initialised {name}" for name in self.reinitialised]
        lines += [f"  unused {name}" for name in self.unused]
        return "\n".join(lines)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
