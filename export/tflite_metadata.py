"""What a TFLite file says of itself, to the readers of TFLite Support and MediaPipe, and to this package.

Their metadata are a flatbuffer (metadata_schema.fbs 1.5 of google-ai-edge/mediapipe, identifier `M001`) in
a buffer that the model's metadata call `TFLITE_METADATA`, and files in an uncompressed ZIP archive behind
the model. There are two: `labels.txt`, one line a logit, and `keras_vit.json`, our own, as it lies inside the
other formats. Both are readable with any unzip.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit import catalogue
from keras_vit.errors import KerasVitError
from keras_vit.export.flatbuffer import Fields, add_metadata, encode
from keras_vit.export.report import Tensor
from keras_vit.export.sidecar import preprocessing_of

ENTRY = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
OWN_FILE = "keras_vit.json"

_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # what a reader has to know at least: nothing here came later

# Of the schema's enumerations and unions.
_AXIS_LABELS, _VALUE_LABELS = np.uint8(2), np.uint8(3)
_FEATURES, _IMAGE = np.uint8(1), np.uint8(2)
_RGB, _GRAYSCALE = np.uint8(1), np.uint8(2)
_NORMALIZATION = np.uint8(1)

_INPUTS = {
    "none": "An image of this size, normalised: (pixel - mean) / std.",
    "normalize": "An image of this size, 0 to 255.",
    "baked": "An image of this size, 0 to 255; it is resized and cropped inside.",
    "layer": "An image of this size, as the layer in front takes it.",
}
_OUTPUTS = {
    "logits": "One score a class, before the softmax.",
    "probabilities": "One probability a class.",
    "features": "What the classifier would see.",
}


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write the metadata into a TFLite file that has none.

    Args:
        path: the file. data: as `sidecar.metadata` makes them.
    """
    content = path.read_bytes()
    metadata = encode(_model(data, *_interface(content)), _IDENTIFIER)
    with path.open("wb") as file:
        file.write(add_metadata(content, ENTRY, metadata))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, text in _files(data).items():
            # A date of its own would make the same export another file each time.
            archive.writestr(zipfile.ZipInfo(name), text)


def read(path: Path) -> dict[str, Any] | None:
    """Our own metadata in a TFLite file, or None for a file that is not ours."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if OWN_FILE not in archive.namelist():
            return None
        return json.loads(archive.read(OWN_FILE))


def _model(data: Mapping[str, Any], images: Tensor, outputs: Sequence[Tensor]) -> Fields:
    """`ModelMetadata`."""
    graph: Fields = {
        2: [_image(data, images)],
        3: [_output(output, data["labels"] or ()) for output in outputs],
    }
    model: dict[int, Any] = {
        0: data["name"],
        1: _description(data),
        3: [graph],
        6: [{0: OWN_FILE, 1: "The model's configuration, preprocessing and labels, as JSON."}],
        7: _PARSER,
    }
    if card := _published(data):
        assert card.hub_id
        model |= {4: card.hub_id.split("/")[0], 5: card.licence}
    return model


def _description(data: Mapping[str, Any]) -> str:
    card = _published(data)
    weights = f" Its weights began as {card.title}, {card.description}." if card else ""
    return f"{data['name']}.{weights} Written by keras_vit {data['keras_vit']}."


def _published(data: Mapping[str, Any]) -> catalogue.ModelCard | None:
    """The checkpoint that the weights began as, where it is one that the catalogue knows."""
    try:
        card = catalogue.info(data["name"])
    except KerasVitError:
        return None
    return card if card.hub_id and card.hub_id in str(data["weights"]) else None


def _image(data: Mapping[str, Any], images: Tensor) -> Fields:
    """`TensorMetadata` of the input."""
    _, height, width, channels = images.shape
    assert height and width
    size = {0: np.uint32(width), 1: np.uint32(height)}
    fields: dict[int, Any] = {
        0: images.name,
        1: "An image as the model takes it.",
        3: {0: _IMAGE, 1: {0: _GRAYSCALE if channels == 1 else _RGB, 1: size}},
    }
    if (normalization := _normalization(data)) is not None:
        mean, std = normalization
        fields |= {
            1: _INPUTS[data["preprocessing"]["mode"]],
            4: [{0: _NORMALIZATION, 1: {0: mean, 1: std}}],
            5: {0: (255 - mean) / std, 1: -mean / std},
        }
    return fields


def _normalization(data: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """(mean, std) of pixels of 0..255 that the caller has to apply, 0 and 1 where the file does it.

    None where the model has no configuration that would tell.
    """
    if data["preprocessing"]["mode"] != "none":
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    if (values := preprocessing_of(data)) is None:
        return None
    mean, std = (255 * np.array(part, np.float32) for part in (values.mean, values.std))
    if np.ptp(mean) == np.ptp(std) == 0:  # some readers take one number alone
        return mean[:1], std[:1]
    return mean, std


def _output(output: Tensor, labels: Sequence[str]) -> Fields:
    """`TensorMetadata` of an output."""
    fields: dict[int, Any] = {
        0: output.name,
        1: _OUTPUTS.get(output.name, f"The model's {output.name}."),
        3: {0: _FEATURES, 1: {}},
    }
    if output.name == "probabilities":
        fields[5] = {0: np.ones(1, np.float32), 1: np.zeros(1, np.float32)}
    kind = _VALUE_LABELS if output.name.endswith("_classes") else _AXIS_LABELS
    if labels and (kind is _VALUE_LABELS or output.name in ("logits", "probabilities")):
        fields[6] = [{0: LABELS_FILE, 1: "One name a class.", 2: kind}]
    return fields


def _files(data: Mapping[str, Any]) -> dict[str, str]:
    """What lies in the archive."""
    files = {OWN_FILE: json.dumps(data, indent=1)}
    if data["labels"]:
        # A line a class: a break in a name would shift all that follow.
        files[LABELS_FILE] = "".join(f"{' '.join(label.split())}\n" for label in data["labels"])
    return files


def _interface(content: bytes) -> tuple[Tensor, list[Tensor]]:
    """(input, outputs) of a TFLite file in its graph's own order, called as in its signature."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    called = {
        entry.tensorIndex: entry.name.decode() for entry in (*signature.inputs, *signature.outputs)
    }
    images, *outputs = (
        Tensor(called[index], tuple(graph.tensors[index].shape), "")
        for index in (*graph.inputs, *graph.outputs)
    )
    return images, outputs
