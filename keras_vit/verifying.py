"""`verify`: whether a model computes, on this machine, what the library does that it comes from."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from keras_vit import catalogue, zoo
from keras_vit.catalogue import ModelCard
from keras_vit.errors import MissingPackageError, UsageError
from keras_vit.golden import distance, seeded_images, seeded_tensors, summary
from keras_vit.loading import load
from keras_vit.models.model import VisionModel
from keras_vit.saving import save_weights
from keras_vit.weights.files import open_checkpoint, write_safetensors

_FOLDER = Path(zoo.__file__).parent / "golden"
_AGAINST = ("golden", "timm")

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

    Args:
        name: of the catalogue.
        weights: a checkpoint file that timm reads too. When None, weights are drawn from the names of the
            tensors (`keras_vit.golden`), at the architecture's full width and a depth of few blocks.
        against: `"golden"`, outputs of the reference for drawn weights, which keras_vit ships; or
            `"timm"`, which must be installed. When None, golden outputs where there are some, else timm.
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
    golden = _goldens(card.family).get(card.architecture) if weights is None else None
    if against == "golden" and golden is None:
        raise UsageError(
            f"there are no golden outputs of {card.architecture}"
            + (" with weights of a file" if weights is not None else "")
            + ': compare with against="timm"'
        )
    with tempfile.TemporaryDirectory() as folder:
        if golden is not None and against != "timm":
            reference, model = golden, _drawn(card, golden, dtype, Path(folder))
        elif weights is None:
            request = golden_request(card)
            reference = {**request, **_timm(card, request, Path(folder))}
            model = _drawn(card, reference, dtype, Path(folder))
        else:
            model = load(card.name, weights=weights, numerics="timm", dtype=dtype)
            request = _whole_request(model, Path(weights))
            reference = _timm(card, request, Path(folder))
    return _compared(card, model, reference, None if weights is None else os.fspath(weights))


def golden_request(card: ModelCard) -> dict[str, Any]:
    """The configuration whose outputs are shipped: full width, few blocks, ten classes.

    Returns:
        `arguments` of `load`; `size`, (height, width) of the image; `numerics` and `layout` of the reference.
    """
    arguments: dict[str, Any] = {"num_classes": 10} if card.num_classes else {}
    if "layers" in card.arguments:
        arguments["layers"] = [1] * len(card.arguments["layers"])
    if "depth" in card.arguments:
        arguments["depth"] = 2
    return {
        "arguments": arguments,
        "size": list(card.preprocessing.image_size),
        "numerics": "timm",
        "layout": "timm",
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


def _timm(card: ModelCard, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What timm gives, in a process of its own."""
    import importlib.util

    from keras_vit.export.child import run_child

    if importlib.util.find_spec("timm") is None:
        raise MissingPackageError("timm is not installed: pip install 'keras-vit-zoo[parity]'")
    wanted = request if "name" in request else timm_request(card.name, request)
    return run_child("keras_vit.timm_reference", {"models": [wanted]}, folder)["models"][0]


def _drawn(card: ModelCard, request: dict[str, Any], dtype: Any, folder: Path) -> VisionModel:
    """The model with weights that are drawn from their names in the reference's layout, by way of a file."""
    arguments = {"numerics": request["numerics"], **request["arguments"]}
    if tuple(request["size"]) != card.preprocessing.image_size:
        arguments["image_size"] = tuple(request["size"])
    fresh = load(card.name, weights=None, **arguments)
    path = save_weights(fresh, folder / "fresh.safetensors", request["layout"])
    with open_checkpoint(path) as checkpoint:
        kept = {
            name: checkpoint.read(name)
            for name in checkpoint
            if checkpoint.tensors[name].dtype.kind != "f"
        }
        shapes = {name: checkpoint.tensors[name].shape for name in checkpoint if name not in kept}
    path = folder / "drawn.safetensors"
    write_safetensors(path, {**seeded_tensors(shapes), **kept})
    return load(card.name, weights=path, source=request["layout"], dtype=dtype, **arguments)


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
        blocks={name: distance(summary(found[name]), reference["blocks"][name]) for name in names},
        output=distance(summary(found["output"]), reference["output"]),
        tolerance=TOLERANCE[dtype],
    )
