"""A model in parts: layers, and runs of like ones, with what they weigh and what they feed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_vit.counting import layer_macs, layer_parameters
from keras_vit.layers.grids import grid_and_prefix


@dataclass(frozen=True)
class Part:
    """A layer of a model, or several of a kind, one after the other.

    Attributes:
        name: the layer's, or `blocks_0 to blocks_11`. kind: its class, in words.
        count: how many layers.
        gives: the shape of what it gives, without the batch: of a map and a token, the map's.
        parameters, macs: of all of them, as in `keras_vit.counting`.
        after: the places, in the list of parts, of those whose outputs it takes.
    """

    name: str
    kind: str
    count: int
    gives: tuple[int | None, ...]
    parameters: int
    macs: int
    after: tuple[int, ...]


def parts_of(model: keras.Model) -> list[Part]:
    """The parts of a Functional model of one image size that calls each of its layers once.

    Raises:
        UsageError: for a layer with weights that `keras_vit.counting` has no rule for.
    """
    feeds = {layer["name"]: _sources(layer) for layer in model.get_config()["layers"]}
    runs: list[list[keras.layers.Layer]] = []
    for layer in model.layers:
        if runs and _continues(runs[-1], layer, feeds):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    place = {layer.name: i for i, run in enumerate(runs) for layer in run}
    return [_part(run, tuple(place[name] for name in feeds[run[0].name])) for run in runs]


def _part(run: list[keras.layers.Layer], after: tuple[int, ...]) -> Part:
    first, last = run[0], run[-1]
    grid, _ = grid_and_prefix(last.output)
    return Part(
        name=first.name if len(run) == 1 else f"{first.name} to {last.name}",
        kind=_words(type(first).__name__),
        count=len(run),
        gives=tuple(grid.shape[1:]),
        parameters=sum(map(layer_parameters, run)),
        macs=sum(map(layer_macs, run)),
        after=after,
    )


def _continues(
    run: list[keras.layers.Layer], layer: keras.layers.Layer, feeds: Mapping[str, tuple[str, ...]]
) -> bool:
    """Whether a layer takes what the run gives, and is like its last one."""
    last = run[-1]
    return feeds[layer.name] == (last.name,) and _likeness(layer) == _likeness(last)


def _likeness(layer: keras.layers.Layer) -> tuple[Any, ...]:
    grid, _ = grid_and_prefix(layer.output)
    stem = re.sub(r"\d+$", "", layer.name)
    # A number at the end is a block's; nothing else stands in runs.
    numbered = stem if stem != layer.name else layer.name
    return type(layer), numbered, grid.shape, layer_parameters(layer)


def _sources(layer: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the layers whose outputs a layer takes, from its configuration."""
    return tuple(dict.fromkeys(_histories(layer["inbound_nodes"])))


def _histories(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "keras_history" in value:
            yield value["keras_history"][0]
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _histories(each)


def _words(name: str) -> str:
    """`TransformerBlock` as `Transformer block`."""
    first, *rest = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name)
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])
