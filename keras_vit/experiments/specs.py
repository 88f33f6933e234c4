"""Experiments as data: reads `zoo/experiments/*.toml`. No Keras.

An experiment is one file, `zoo/experiments/NAME.toml`:

* top level: `schema`, `title`, `question`, `source` (paper, section, table), `finding` (what it found),
  `seeds`, `columns` (measures that the table shows), and of curves `x_name`;
* `[real.train]`, `[real.evaluate]`, `[real.fewshot]`: arguments of every stage that does this, at the
  scale of the paper; `[small.train]` and so on: at a scale that a CPU does in minutes;
* `[[variants]]`: a row of the table each: `name`, and `stages`, one after the other, of which the last
  one is measured. Of curves `line` and `x`. With `each = { NAME = [...] }` it is one for each value,
  which stands where "$NAME" stands;
* a stage: `do` (a function of `experiments.stages`), its arguments, and `real` and `small`, arguments at
  that scale alone. With `only` it is one of that scale alone. `as` gives its model a name, and "@NAME"
  is that model in a later stage;
* `[[comparisons]]`: `of` and `against`, names of variants, and `paper`, what the paper says of the two.
"""

import difflib
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_vit import zoo
from keras_vit.errors import UsageError

_FOLDER = Path(zoo.__file__).parent / "experiments"
_SCHEMA = 1
_SCALES = ("real", "small")


@dataclass(frozen=True)
class Stage:
    """One step of a variant.

    Attributes:
        do: what. arguments: of it, "@NAME" among them. name: of its model for later stages, or None.
    """

    do: str
    arguments: Mapping[str, Any]
    name: str | None = None


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        name: of it. stages: in their order. line, x: of a curve, and where on it; None of dots.
    """

    name: str
    stages: tuple[Stage, ...]
    line: str | None = None
    x: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two variants whose difference is the answer.

    Attributes:
        of, against: their names. paper: what the paper says.
    """

    of: str
    against: str
    paper: str


@dataclass(frozen=True)
class Experiment:
    """An experiment at one scale.

    Attributes:
        name, title, question, source, finding, columns, x_name: as the file has them.
        scale: `"real"` or `"small"`. seeds: how often each variant is run.
        variants, comparisons: of it.
    """

    name: str
    title: str
    question: str
    source: str
    finding: str
    scale: str
    seeds: int
    columns: tuple[str, ...]
    variants: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]
    x_name: str | None = None

    @property
    def data(self) -> tuple[str, ...]:
        """What its stages train and measure on, each once, in their order."""
        stages = (stage for variant in self.variants for stage in variant.stages)
        given = (stage.arguments.get("data") for stage in stages)
        return tuple(dict.fromkeys(str(data) for data in given if data is not None))


def list_experiments() -> dict[str, str]:
    """Every experiment's name and title, in alphabetical order."""
    return {name: str(document["title"]) for name, document in sorted(_documents().items())}


def experiment_of(
    name: str, scale: str = "real", changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Experiment:
    """An experiment by its name.

    Args:
        name: of the file. scale: `"real"` or `"small"`.
        changes: arguments in place of the file's, by what a stage does: `{"train": {"epochs": 3}}`.

    Raises:
        UsageError: no such experiment, with the nearest ones, or changes of what no stage does.
    """
    documents = _documents()
    if name not in documents:
        nearest = difflib.get_close_matches(name, documents, n=3, cutoff=0.0)
        raise UsageError(f"there is no experiment {name!r}; the nearest are {', '.join(nearest)}")
    document, changes = documents[name], changes or {}
    variants = tuple(
        Variant(
            _filled(row["name"], values),
            tuple(
                _stage(_filled(stage, values), scale, document, changes)
                for stage in row["stages"]
                if stage.get("only", scale) == scale
            ),
            row.get("line"),
            _filled(row.get("x"), values),
        )
        for row in document["variants"]
        for values in _each(row)
    )
    done = {stage.do for variant in variants for stage in variant.stages}
    for do in changes:
        if do not in done:
            raise UsageError(f"{name} has no {do} to change; it has {', '.join(sorted(done))}")
    plain = ("title", "question", "source", "finding", "seeds")
    return Experiment(
        name=name,
        scale=scale,
        columns=tuple(document["columns"]),
        variants=variants,
        comparisons=tuple(Comparison(**row) for row in document.get("comparisons", ())),
        x_name=document.get("x_name"),
        **{field: document[field] for field in plain},
    )


def _stage(
    stage: Mapping[str, Any],
    scale: str,
    document: Mapping[str, Any],
    changes: Mapping[str, Mapping[str, Any]],
) -> Stage:
    """The file's general arguments, then the stage's, then the user's."""
    do = stage["do"]
    own = {k: v for k, v in stage.items() if k not in ("do", "as", "only", *_SCALES)}
    general = document.get(scale, {}).get(do, {})
    arguments = {**general, **own, **stage.get(scale, {}), **changes.get(do, {})}
    return Stage(do, arguments, stage.get("as"))


def _each(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The values of a row that is several."""
    for name, values in row.get("each", {}).items():
        for value in values:
            yield {name: value}
        return
    yield {}


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """The same data with the values where "$NAME" stands, or inside of a longer text."""
    if isinstance(value, Mapping):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_filled(item, values) for item in value]
    if isinstance(value, str):
        for name, filling in values.items():
            if value == f"${name}":
                return filling
            value = value.replace(f"${name}", json.dumps(filling))
    return value


@functools.cache
def _documents() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise ValueError(f"{path.name}: schema must be {_SCHEMA}, not {document['schema']}")
        found[path.stem] = document
    return found
