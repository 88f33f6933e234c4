"""Names, wildcards and model cards: reads the TOML files of `keras_vit.zoo`. No Keras.

A family is one file, `zoo/FAMILY.toml`:

* top level: `schema`, `family`, `title`, `paper`, `licence`, `hub_file`; `builder` ("module:function")
  draws its graphs, `name_map` (a module) knows its checkpoints' tensor names;
* `[defaults]`: builder arguments that its entries share. `optional` names those that are None where
  nothing gives them, since TOML has no null;
* `[numerics]`: `default`, and one table of builder arguments for each of `timm` and `source`;
* `[preprocessing]`: what an entry's `preprocessing` table adds to or replaces;
* `[architectures.A]`: builder arguments, and perhaps `preprocessing`, `numerics`, and `default_in`: the
  family whose tags hold the default one, where several families have the architecture;
* `[architectures.A.tags.T]`: the checkpoint `A.T`. Its facts are the names in `_FACTS`; whatever else
  stands here is a builder argument, such as `num_classes`. The first tag is the default one;
* `[tags.T]`: `description` of a tag, and its `paper` where that is not the family's;
* `[sources]`: short names of the places where scores were published;
* `[aliases]`: other names of an architecture or a checkpoint.

An inner table's value wins over an outer one's. An argument stands in `numerics` tables or outside them,
never in both.
"""

import dataclasses
import difflib
import fnmatch
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keras_vit import zoo
from keras_vit.caching import cached_json
from keras_vit.config import Preprocessing
from keras_vit.errors import UnknownModelError, UsageError

_ZOO = Path(zoo.__file__).parent
_SCHEMA = 1
_FACTS = {
    "hub_id",
    "hub_file",
    "licence",
    "labels",
    "source_url",
    "scores",
    "parameters",
    "macs",
    "preprocessing",
    "numerics",
    "default_in",
    "sha256",
    "tags",
}


@dataclass(frozen=True)
class Score:
    """A published accuracy.

    Attributes:
        dataset: what it was measured on, such as `"imagenet1k"` (the validation images).
        image_size: side of the square images, in pixels.
        top1, top5: in percent; `top5` is None where it was not published.
        measured_by: short name of whoever measured and published it, such as `"timm"`.
        source: URL of the publication.
    """

    dataset: str
    image_size: int
    top1: float
    top5: float | None
    measured_by: str
    source: str


@dataclass(frozen=True)
class ModelCard:
    """All that the catalogue knows of one checkpoint.

    Attributes:
        name: `architecture.tag`, spelled as timm spells it.
        architecture, tag, family: the parts of the name, and the catalogue file's name.
        title: the family's, in words. description: the tag's, in words.
        paper: URL.
        aliases: other names that `info` takes for this one.
        builder: `"module:function"` that draws the graph. name_map: module with the tensor names.
        numerics: whose arithmetic is the default: `"source"`, the code of the authors, or `"timm"`.
        arguments: the builder's keyword arguments under the default numerics, and `patch_resize`, which
            `load` alone needs.
        preprocessing: how the checkpoint wants its images.
        num_classes: number of logits; 0 for a checkpoint without a classifier.
        labels: name of the label set that `labels` reads, or None.
        licence: SPDX identifier of the weights.
        pretrained: whether weights are published.
        hub_id, hub_file: Hugging Face repository and the file in it; None without weights.
        sha256: of the hub's file, 64 hexadecimal digits, or None where it is not known.
        source_url: where the weights come from: the authors' file, or the hub page.
        scores: published accuracies, timm's own measurement first.
        parameters: number of weights. macs: multiply-adds of one image (`keras_vit.counting`).
        numerics_arguments: the arguments that each numerics sets; see `arguments_for`.
    """

    name: str
    architecture: str
    tag: str
    family: str
    title: str
    description: str
    paper: str
    aliases: tuple[str, ...]
    builder: str
    name_map: str
    numerics: str
    arguments: dict[str, Any]
    preprocessing: Preprocessing
    num_classes: int
    labels: str | None
    licence: str
    pretrained: bool
    hub_id: str | None
    hub_file: str | None
    sha256: str | None
    source_url: str | None
    scores: tuple[Score, ...]
    parameters: int
    macs: int
    numerics_arguments: dict[str, dict[str, Any]]

    def arguments_for(self, numerics: str | None = None) -> dict[str, Any]:
        """The builder's keyword arguments under `numerics`, or the default's when None.

        Raises:
            UsageError: if the entry has no such numerics.
        """
        numerics = numerics or self.numerics
        if numerics not in self.numerics_arguments:
            known = " or ".join(repr(name) for name in self.numerics_arguments)
            raise UsageError(f"numerics must be {known} for {self.name}. Received: {numerics!r}")
        return {**self.arguments, **self.numerics_arguments[numerics]}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Catalogue:
    """The parsed files, and where each name is.

    Attributes:
        families: the TOML document of each family.
        names: `architecture.tag` -> (family, architecture, tag), in natural order.
        spellings: every folded spelling -> the name that it means.
    """

    families: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, tuple[str, str, str]]
    spellings: Mapping[str, str]


def list_models(
    pattern: str | Iterable[str] = "*",
    *,
    tag: str | Iterable[str] | None = None,
    family: str | Iterable[str] | None = None,
    pretrained: bool | None = None,
    exclude: str | Iterable[str] = (),
) -> list[str]:
    """Names of the catalogue, in natural order (patch8 before patch16, 224 before 384).

    Args:
        pattern: one or several, with `*`, `?` and `[...]`; each is tried on the whole name and on the
            architecture alone, so that `"vit_tiny_patch16_224"` gives all of its tags.
        tag: patterns of the tag, such as `"*in21k*"`.
        family: names of families, such as `"deit3"`.
        pretrained: whether weights must be published, or must not be; None takes both.
        exclude: patterns of what to leave out.

    Returns:
        Full names, `architecture.tag`.

    Raises:
        UsageError: for a family that the catalogue does not have.
    """
    catalogue = _catalogue()
    families = _families(catalogue, family)
    patterns, tags, excluded = _several(pattern), _several(tag or "*"), _several(exclude)
    return [
        name
        for name, (its_family, architecture, its_tag) in catalogue.names.items()
        if its_family in families
        and _matches(tags, its_tag)
        and _matches(patterns, name, architecture)
        and not _matches(excluded, name, architecture)
        and pretrained in (None, _is_pretrained(catalogue, name))
    ]


def info(name: str) -> ModelCard:
    """The card of a checkpoint.

    Args:
        name: `architecture.tag`, an architecture (its default tag), a paper's name such as
            `"ViT-B/16"`, or timm's `"hf-hub:timm/..."`.

    Raises:
        UnknownModelError: for any other name; the message has the three nearest ones.
    """
    catalogue = _catalogue()
    found = catalogue.spellings.get(_fold(re.sub(r"^hf[-_]hub:", "", name.strip())))
    if found is None:
        raise UnknownModelError(_unknown(catalogue, name))
    return _card(catalogue, found)


def labels(set_name: str) -> tuple[str, ...]:
    """The class names of a label set, in the order of the logits.

    Raises:
        UsageError: for a set that the catalogue does not have.
    """
    path = _ZOO / "labels" / f"{set_name}.txt"
    known = sorted(file.stem for file in path.parent.glob("*.txt"))
    if set_name not in known:
        raise UsageError(f"unknown label set {set_name!r}: there are {', '.join(known)}")
    return tuple(path.read_text(encoding="utf-8").splitlines())


@functools.cache
def _catalogue() -> _Catalogue:
    paths = sorted(_ZOO.glob("*.toml"))
    stats = [(str(path), path.stat()) for path in paths]
    key = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    # tomllib is slow: hundreds of checkpoints take it longer than a listing may.
    families = cached_json("catalogue.json", key, partial(_parsed, paths))
    rows = [
        (family, architecture, tag)
        for family, document in families.items()
        for architecture, entry in document["architectures"].items()
        for tag in entry["tags"]
    ]
    rows.sort(key=lambda row: (_natural(row[1]), _natural(row[2])))
    names = {
        f"{architecture}.{tag}": (family, architecture, tag) for family, architecture, tag in rows
    }
    return _Catalogue(families, names, _spellings(families))


def _parsed(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The TOML documents by family."""
    families = {}
    for path in paths:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise UsageError(f"{path.name} has schema {document['schema']}; this is for {_SCHEMA}")
        families[document["family"]] = document
    return families


def _spellings(families: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Every spelling that `info` takes, folded."""
    spellings: dict[str, str] = {}
    for document in families.values():
        for architecture, entry in document["architectures"].items():
            for tag, facts in entry["tags"].items():
                name = f"{architecture}.{tag}"
                if "default_in" not in entry:
                    spellings.setdefault(_fold(architecture), name)
                spellings[_fold(name)] = name
                if "hub_id" in facts:
                    spellings[_fold(facts["hub_id"])] = name
        for alias, target in document["aliases"].items():
            spellings[_fold(alias)] = spellings[_fold(target)]
    return spellings


def _card(catalogue: _Catalogue, name: str) -> ModelCard:
    family, architecture, tag = catalogue.names[name]
    document = catalogue.families[family]
    entry = document["architectures"][architecture]
    facts = entry["tags"][tag]
    about = document["tags"].get(tag, {})
    numerics = document["numerics"]["default"]
    numerics_arguments = _numerics(document, entry, facts)
    arguments = _arguments(document, entry, facts, numerics_arguments[numerics])
    preprocessing = {
        "image_size": arguments["image_size"],
        **document["preprocessing"],
        **entry.get("preprocessing", {}),
        **facts.get("preprocessing", {}),
    }
    hub_id = facts.get("hub_id")
    hub_page = f"https://huggingface.co/{hub_id}" if hub_id else None
    return ModelCard(
        name=name,
        architecture=architecture,
        tag=tag,
        family=family,
        title=document["title"],
        description=about.get("description", ""),
        paper=about.get("paper", document["paper"]),
        aliases=_aliases(document, catalogue.spellings, name),
        builder=document["builder"],
        name_map=document["name_map"],
        numerics=numerics,
        arguments=arguments,
        preprocessing=Preprocessing.from_dict(preprocessing),
        num_classes=arguments["num_classes"],
        labels=facts.get("labels"),
        licence=facts.get("licence", document["licence"]),
        pretrained=_is_pretrained(catalogue, name),
        hub_id=hub_id,
        hub_file=facts.get("hub_file", document["hub_file"]) if hub_id else None,
        sha256=facts.get("sha256"),
        source_url=facts.get("source_url", hub_page),
        scores=tuple(_score(document, score) for score in facts.get("scores", ())),
        parameters=facts["parameters"],
        macs=facts["macs"],
        numerics_arguments=numerics_arguments,
    )


def _arguments(
    document: Mapping[str, Any],
    entry: Mapping[str, Any],
    facts: Mapping[str, Any],
    numerics: Mapping[str, Any],
) -> dict[str, Any]:
    """The builder's arguments, sorted by name."""
    merged = {
        **dict.fromkeys(document["optional"]),
        **document["defaults"],
        **{key: value for key, value in entry.items() if key not in _FACTS},
        **{key: value for key, value in facts.items() if key not in _FACTS},
        **numerics,
    }
    return {key: _frozen(merged[key]) for key in sorted(merged)}


def _numerics(*tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments that each numerics sets; later tables win."""
    names = [name for name in tables[0]["numerics"] if name != "default"]
    return {
        name: {
            key: _frozen(value)
            for table in tables
            for key, value in table.get("numerics", {}).get(name, {}).items()
        }
        for name in names
    }


def _score(document: Mapping[str, Any], score: Mapping[str, Any]) -> Score:
    publisher = score["source"]
    source = {"measured_by": publisher, "source": document["sources"][publisher]}
    return Score(**{"top5": None, **score, **source})


def _aliases(
    document: Mapping[str, Any], spellings: Mapping[str, str], name: str
) -> tuple[str, ...]:
    return tuple(alias for alias in document["aliases"] if spellings[_fold(alias)] == name)


def _is_pretrained(catalogue: _Catalogue, name: str) -> bool:
    family, architecture, tag = catalogue.names[name]
    return "hub_id" in catalogue.families[family]["architectures"][architecture]["tags"][tag]


def _families(catalogue: _Catalogue, family: str | Iterable[str] | None) -> Sequence[str]:
    wanted = list(catalogue.families) if family is None else _several(family)
    for name in wanted:
        if name not in catalogue.families:
            known = ", ".join(catalogue.families)
            raise UsageError(f"unknown family {name!r}: there are {known}")
    return wanted


def _unknown(catalogue: _Catalogue, name: str) -> str:
    """One line with the three spellings nearest to `name`: of full names if it has a tag."""
    candidates = {key: key for key in catalogue.names}
    if "." not in name:
        candidates = {architecture: architecture for _, architecture, _ in catalogue.names.values()}
        for document in catalogue.families.values():
            candidates.update({_fold(alias): alias for alias in document["aliases"]})
    nearest = difflib.get_close_matches(_fold(name), candidates, n=3, cutoff=0.0)
    return (
        f"unknown model {name!r}; the nearest names are "
        f"{', '.join(candidates[key] for key in nearest)}"
    )


def _matches(patterns: Sequence[str], *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _several(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that compares the numbers in a name as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


@functools.cache
def _fold(name: str) -> str:
    """What counts in a name: not its case, nor which of blank, slash, hyphen, underscore is used."""
    return re.sub(r"[ /_-]+", "_", name.casefold())


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
