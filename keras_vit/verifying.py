"""`verify`: whether a model computes, on this machine, what the library does that it comes from."""

import importlib.util
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit import catalogue, zoo
from keras_vit.catalogue import ModelCard
from keras_vit.errors import MissingPackageError, UsageError
from keras_vit.export.child import run_child
from keras_vit.golden import distance, seeded_images, seeded_tensors, summary
from keras_vit.layers.grids import grid_and_prefix
from keras_vit.loading import load
from keras_vit.models.model import VisionModel
from keras_vit.saving import save_weights
from keras_vit.weights.files import open_checkpoint, write_safetensors
from keras_vit.weights.name_map import layouts_of

_FOLDER = Path(zoo.__file__).parent / "golden"
# The library whose tensor names a layout has, and the module that asks it.
_LIBRARIES = {"timm": "timm", "huggingface": "transformers"}
_AGAINST = ("golden", *_LIBRARIES.values())

TOLERANCE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.3}
"""Largest difference that passes, in standard deviations of the output, by what the blocks compute in."""


@dataclass(frozen=True)
class Conformance:
    """How far a model is from its reference.

    Attributes:
        name: of the model. backend: of Keras. compute_dtype: of its blocks.
        reference: what it was compared with, and its versions.
        weights: the checkpoint, or None for weights that were drawn from their names.
        blocks: by layer, the largest difference over the standard deviation of the reference.
        output: the same of what the model gives.
        tolerance: what the output may have.
    """

    name: str
    backend: str
    compute_dtype: str
    reference: str
    weights: str | None
    blocks: dict[str, float]
    output: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the output is near enough."""
        return self.output <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "passed": self.passed}


def verify(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    against: str | None = None,
    dtype: Any = None,
) -> Conformance:
    """Compare a model with its reference, block by block, on this machine's backend and precision.

    The reference is timm, and transformers for CvT, which timm does not have.

    Args:
        name: of the catalogue.
        weights: a checkpoint file that timm reads too. When None, weights are drawn from the names of the
            tensors (`keras_vit.golden`), at the architecture's full width and a depth of few blocks.
        against: `"golden"`, outputs of the reference for drawn weights, which keras_vit ships; or `"timm"`
            or `"transformers"`, which must be installed. When None, golden outputs where there are some.
        dtype: dtype policy of the model; Keras' global one when None.

    Raises:
        UsageError: for an unknown name, a reference that the model does not have, or weights that timm
            does not take.
        MissingPackageError: timm is not installed.
        CheckpointError: for weights that do not fit.
    """
    card = catalogue.info(name)
    if against not in (None, *_AGAINST):
        raise UsageError(f"against must be one of {', '.join(_AGAINST)}. Received: {against!r}")
    layout = reference_layout(card)
    library = _LIBRARIES[layout]
    if against not in (None, "golden", library):
        raise UsageError(f"the reference of {card.name} is {library}, not {against}")
    golden = _goldens(card.family).get(card.architecture) if weights is None else None
    if against == "golden" and golden is None:
        raise UsageError(
            f"there are no golden outputs of {card.architecture}"
            + (" with weights of a file" if weights is not None else "")
            + f': compare with against="{library}"'
        )
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        if weights is not None:
            if library != "timm":
                raise UsageError(
                    f"weights of a file are compared with timm, which has no {card.name}"
                )
            model = load(card.name, weights=weights, numerics="timm", dtype=dtype)
            reference = ask_timm([_whole_request(model, Path(weights))], folder)[0]
        else:
            request = golden_request(card)
            if golden is not None and against in (None, "golden"):
                request = reference = golden
            file = drawn_weights(card, request, folder)
            if request is not golden:
                reference = ask(card, request, file)
            arguments = {"numerics": request["numerics"], **_arguments(card, request)}
            model = load(card.name, weights=file, source=layout, dtype=dtype, **arguments)
    return _compared(card, model, reference, None if weights is None else os.fspath(weights))


def reference_layout(card: ModelCard) -> str:
    """The layout of the library that a model is compared with: timm, or transformers where timm has none."""
    return next(name for name in _LIBRARIES if name in layouts_of(card.name_map))


def golden_request(card: ModelCard) -> dict[str, Any]:
    """The configuration whose outputs are shipped: full width, few blocks, ten classes.

    Returns:
        `arguments` of `load`; `size`, (height, width) of the image; `numerics`.
    """
    arguments: dict[str, Any] = {"num_classes": 10} if card.num_classes else {}
    if "layers" in card.arguments:
        arguments["layers"] = [1] * len(card.arguments["layers"])
    depth = card.arguments.get("depth")
    if isinstance(depth, tuple):
        # transformers' CvtStage wants more blocks than there are stages before it.
        arguments["depth"] = [min(blocks, stage + 1) for stage, blocks in enumerate(depth)]
    # timm makes the grouped heads of Sapiens2 for the whole depth alone.
    elif depth and "grouped_blocks" not in card.arguments:
        arguments["depth"] = 2
    return {
        "arguments": arguments,
        "size": list(card.preprocessing.image_size),
        "numerics": reference_layout(card),
    }


def timm_request(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The same for `timm_reference`, whose `layers` are no argument of timm's."""
    arguments = {key: value for key, value in request["arguments"].items() if key != "layers"}
    layers = request["arguments"].get("layers")
    return {
        "name": name,
        "arguments": arguments,
        "layers": layers,
        "weights": None,
        "size": request["size"],
    }


def _goldens(family: str) -> dict[str, Any]:
    """The shipped outputs by architecture."""
    path = _FOLDER / f"{family}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _whole_request(model: VisionModel, weights: Path) -> dict[str, Any]:
    assert model.config is not None
    return {
        "name": model.config.name,
        "arguments": {"num_classes": model.config.arguments["num_classes"]},
        "layers": None,
        "weights": str(weights.resolve()),
        "size": list(model.config.preprocessing.image_size),
    }


def ask(card: ModelCard, request: dict[str, Any], file: Path) -> dict[str, Any]:
    """What the reference library gives for drawn weights, which lie in `file`."""
    if reference_layout(card) == "timm":
        return ask_timm([timm_request(card.name, request)], file.parent)[0]
    return _child(
        "transformers", {"folder": str(file.parent), "size": request["size"]}, file.parent
    )


def ask_timm(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What timm gives for each of `timm_request`'s; `folder` takes notes."""
    return _child("timm", {"models": requests}, folder)["models"]


def _child(library: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """In a process of its own: timm crashes after TensorFlow, and torch's threads disturb it."""
    if importlib.util.find_spec(library) is None:
        raise MissingPackageError(
            f"{library} is not installed: pip install 'keras-vit-zoo[parity]'"
        )
    return run_child(f"keras_vit.{library}_reference", request, folder)


def _arguments(card: ModelCard, request: dict[str, Any]) -> dict[str, Any]:
    """Of `load`, for the reference's image size, which an architecture of any size has not."""
    size = tuple(request["size"])
    resized = {} if size == card.preprocessing.image_size else {"image_size": size}
    return {**request["arguments"], **resized}


def drawn_weights(card: ModelCard, request: dict[str, Any], folder: Path) -> Path:
    """A file of weights that are drawn from their names in the reference's layout.

    For transformers, its config.json lies beside.
    """
    arguments = {"numerics": request["numerics"], **_arguments(card, request)}
    fresh = load(card.name, weights=None, **arguments)
    path = save_weights(fresh, folder / "model.safetensors", reference_layout(card))
    with open_checkpoint(path) as checkpoint:
        floats = {k: v.shape for k, v in checkpoint.tensors.items() if v.dtype.kind == "f"}
        kept = {name: checkpoint.read(name) for name in checkpoint if name not in floats}
    write_safetensors(path, {**seeded_tensors(floats), **kept}, {"format": "pt"})
    return path


def _compared(
    card: ModelCard, model: VisionModel, reference: dict[str, Any], weights: str | None
) -> Conformance:
    names = [layer.name for layer in model.layers if layer.name in reference["blocks"]]
    outputs = {name: model.get_layer(name).output for name in names}
    height, width, channels = model.input.shape[1:]
    found = keras.Model(model.input, {**outputs, "output": model.output}).predict_on_batch(
        seeded_images(1, height, width, channels)
    )
    dtype = model.get_layer(names[-1]).compute_dtype if names else model.compute_dtype
    return Conformance(
        name=card.name,
        backend=keras.backend.backend(),
        compute_dtype=dtype,
        reference=reference["by"],
        weights=weights,
        blocks={
            name: distance(summary(_tokens(found[name])), reference["blocks"][name])
            for name in names
        },
        output=distance(summary(found["output"]), reference["output"]),
        tolerance=TOLERANCE[dtype],
    )


def _tokens(output: Any) -> Any:
    """A map, or the pair of a map and a token as the sequence that it stands for."""
    grid, prefix = grid_and_prefix(output)
    rows = grid.reshape(len(grid), -1, grid.shape[-1])
    return np.concatenate([*prefix, rows], axis=1)
