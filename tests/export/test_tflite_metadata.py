"""TFLite files' metadata, read by the schema's field numbers and by Python's zipfile, not by our writer.

The schema: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0, and TFLite's schema.fbs.
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table

from keras_vit.export import open_artifact, sidecar, tflite_metadata
from keras_vit.export.flatbuffer import add_metadata

LABELS = ("ant", "bee", "cow", "dog", "eel")


class Reader:
    """A table of a flatbuffer, its fields by their number in the schema."""

    def __init__(self, content: bytes, position: int) -> None:
        self.table = Table(content, position)

    def at(self, slot: int) -> int:
        """Where a field is; it has to be there."""
        offset = self.table.Offset(4 + 2 * slot)
        assert offset, f"field {slot} is missing"
        return offset

    def text(self, slot: int) -> str:
        return self.table.String(self.table.Pos + self.at(slot)).decode()

    def child(self, slot: int) -> "Reader":
        return Reader(self.table.Bytes, self.table.Indirect(self.table.Pos + self.at(slot)))

    def children(self, slot: int) -> list["Reader"]:
        first, count = self.table.Vector(self.at(slot)), self.table.VectorLen(self.at(slot))
        places = (self.table.Indirect(first + 4 * index) for index in range(count))
        return [Reader(self.table.Bytes, place) for place in places]

    def floats(self, slot: int) -> list[float]:
        array = self.table.GetVectorAsNumpy(number_types.Float32Flags, self.at(slot))
        return [float(value) for value in array]

    def number(self, slot: int, flags: Any = number_types.Uint8Flags) -> int:
        return self.table.Get(flags, self.table.Pos + self.at(slot))


def metadata_of(path: Path) -> Reader:
    """The root of the metadata in a TFLite file."""
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    content = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert content[4:8] == b"M001"
    return Reader(content, int.from_bytes(content[:4], "little"))


@pytest.fixture(scope="module")
def graph(exported: Callable[[str], Any]) -> Reader:
    """`SubGraphMetadata` of the file that normalises inside."""
    return metadata_of(exported("tflite").path).children(3)[0]


@pytest.fixture(scope="module")
def plain(exported: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Entries that differ -> the input's `TensorMetadata` of a file that is not normalised inside."""
    source = exported("tflite").path
    folder = tmp_path_factory.mktemp("metadata")

    def image(**preprocessing: Any) -> Reader:
        path = Path(shutil.copy(source, folder / "m.tflite"))
        data = tflite_metadata.read(path)
        assert data is not None
        data["preprocessing"] |= {"mode": "none", **preprocessing}
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"PK\x03\x04")])
        tflite_metadata.write(path, data)
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        newest = model.Metadata(model.MetadataLength() - 1)
        found = model.Buffers(newest.Buffer()).DataAsNumpy().tobytes()
        root = Reader(found, int.from_bytes(found[:4], "little"))
        return root.children(3)[0].children(2)[0]

    return image


def test_name_and_parser(exported: Callable[[str], Any], model: Any) -> None:
    root = metadata_of(exported("tflite").path)
    assert root.text(0) == model.config.name
    assert "Written by keras_vit" in root.text(1)
    assert root.text(7) == "1.0.0"


def test_image(graph: Reader) -> None:
    """RGB of 32 x 32, 0 to 255 as it comes: the file normalises inside."""
    image = graph.children(2)[0]
    assert image.text(0) == "images"
    content = image.child(3)
    assert content.number(0) == 2  # ContentProperties.ImageProperties
    properties = content.child(1)
    assert properties.number(0) == 1  # ColorSpaceType.RGB
    size = properties.child(1)
    assert [size.number(slot, number_types.Uint32Flags) for slot in (0, 1)] == [32, 32]
    (unit,) = image.children(4)
    assert unit.number(0) == 1  # ProcessUnitOptions.NormalizationOptions
    options = unit.child(1)
    assert (options.floats(0), options.floats(1)) == ([0.0], [1.0])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255.0], [0.0])


def test_normalisation_left_to_the_caller(plain: Callable[..., Reader]) -> None:
    """In units of 0..255; one number where the channels agree, which MediaPipe asks for."""
    options = plain(mean=[0.5] * 3, std=[0.5] * 3).children(4)[0].child(1)
    assert (options.floats(0), options.floats(1)) == ([127.5], [127.5])


def test_normalisation_of_each_channel(plain: Callable[..., Reader]) -> None:
    image = plain(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    options = image.children(4)[0].child(1)
    np.testing.assert_allclose(options.floats(0), [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(options.floats(1), [58.395, 57.12, 57.375], rtol=1e-6)
    np.testing.assert_allclose(image.child(5).floats(0), [2.2489, 2.4286, 2.64], rtol=1e-4)
    np.testing.assert_allclose(image.child(5).floats(1), [-2.1179, -2.0357, -1.8044], rtol=1e-4)


def test_labels(exported: Callable[[str], Any], graph: Reader) -> None:
    (output,) = graph.children(3)
    assert output.text(0) == "logits"
    (file,) = output.children(6)
    assert file.text(0) == "labels.txt"
    assert file.number(2) == 2  # AssociatedFileType.TENSOR_AXIS_LABELS
    with zipfile.ZipFile(exported("tflite").path) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
        assert tuple(archive.read("labels.txt").decode().splitlines()) == LABELS


def test_a_line_break_in_a_label_shifts_none(tmp_path: Path, exported: Any) -> None:
    path = Path(shutil.copy(exported("tflite").path, tmp_path / "m.tflite"))
    data = tflite_metadata.read(path)
    assert data is not None
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    tflite_metadata.write(path, {**data, "labels": ["a\nb", "c", "d", "e", "f"]})
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["a b", "c", "d", "e", "f"]


def test_our_own_are_those_beside_the_file(exported: Callable[[str], Any]) -> None:
    path = exported("tflite").path
    with zipfile.ZipFile(path) as archive:
        own = json.loads(archive.read("keras_vit.json"))
    beside = sidecar.read_sidecar(path)
    assert beside is not None
    assert own == {key: beside[key] for key in own}
    assert own["labels"] == list(LABELS) and own["preprocessing"]["mode"] == "normalize"


def test_a_file_that_was_moved_knows_its_labels(exported: Any, tmp_path: Path) -> None:
    artifact = open_artifact(shutil.copy(exported("tflite").path, tmp_path / "m.tflite"))
    assert artifact.sidecar is None
    assert artifact.labels == LABELS
    assert artifact.preprocessing_mode == "normalize"


def alignments(content: bytes) -> list[int]:
    """Where the data of each buffer begins, modulo 64."""
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    arrays = (model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength()))
    return [
        (array.__array_interface__["data"][0] - start) % 64
        for array in arrays
        if isinstance(array, np.ndarray)
    ]


def test_an_entry_moves_no_weight_out_of_its_alignment(exported: Callable[[str], Any]) -> None:
    content = exported("tflite").path.read_bytes()
    before = alignments(content)
    *after, added = alignments(bytes(add_metadata(content, "MORE", b"x" * 1001)))
    assert len(before) > 20 and after == before
    assert added % 16 == 0


def test_nothing_is_claimed_of_images_that_nothing_is_known_of(
    exported: Any, tmp_path: Path
) -> None:
    """A model without a configuration of ours: neither a normalisation nor a range."""
    path = Path(shutil.copy(exported("tflite").path, tmp_path / "m.tflite"))
    data = tflite_metadata.read(path)
    assert data is not None
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    unknown = {"mode": "none", "input_dtype": "float32"}
    tflite_metadata.write(path, {**data, "preprocessing": unknown})
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    newest = model.Metadata(model.MetadataLength() - 1)
    found = model.Buffers(newest.Buffer()).DataAsNumpy().tobytes()
    image = Reader(found, int.from_bytes(found[:4], "little")).children(3)[0].children(2)[0]
    assert image.text(1) == "An image as the model takes it."
    assert [image.table.Offset(4 + 2 * slot) for slot in (4, 5)] == [0, 0]
