"""Files that resize, crop and normalise themselves, beside Pillow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baked_cases import (
    answers_by_pillow,
    by_pillow,
    classifier_of_pixels,
    file_in,
    grey_levels,
    pictures,
)
from onnx_cases import CVT, VIT, load

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.errors import ExportError, UsageError
from keras_vit.export import check, export_model, open_artifact
from keras_vit.export.artifact import Artifact
from keras_vit.export.convert_child import write as convert
from keras_vit.export.front import build_front
from keras_vit.export.images import as_seen, source_images
from keras_vit.export.sidecar import metadata

FORMATS = ("onnx", "tflite", pytest.param("savedmodel", marks=pytest.mark.slow))
SIZE = (57, 41)
VALUES = Preprocessing((32, 32), crop_pct=0.9)
OUTPUTS = ["logits", "top3"]


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """format -> the small ViT with everything inside; the SavedModel takes any size."""
    folder, done = tmp_path_factory.mktemp("baked"), {}

    def get(format: str) -> Artifact:
        if format not in done:
            size = None if format == "savedmodel" else SIZE
            path = file_in(folder, format)
            export_model(
                model, path, format, preprocessing="baked", input_size=size, outputs=OUTPUTS
            )
            done[format] = open_artifact(path)
        return done[format]

    return get


def expected_top3(logits: np.ndarray) -> np.ndarray:
    return np.argsort(-logits, axis=1)[:, :3]


@pytest.mark.parametrize("format", FORMATS)
def test_answers_like_the_model_after_pillow(files: Any, model: Any, format: str) -> None:
    images = pictures(SIZE, 5)
    expected = answers_by_pillow(model, images)
    given = files(format).run(images)
    assert np.abs(given["logits"] - expected).max() <= 1e-4 * expected.std()
    np.testing.assert_array_equal(given["top3_classes"], expected_top3(expected))


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_say_both_sizes(files: Any, model: Any, format: str) -> None:
    artifact = files(format)
    data = json.loads((artifact.path.parent / f"{artifact.path.name}.json").read_text())
    stored = data["preprocessing"]
    assert stored["mode"] == artifact.preprocessing_mode == "baked"
    assert stored["image_size"] == [32, 32]
    any_size = [None, None]
    assert stored["input_size"] == (any_size if format == "savedmodel" else list(SIZE))
    assert artifact.preprocessing == model.config.preprocessing
    assert data["outputs"] == OUTPUTS
    assert data["report"]["preprocessing"] == "baked"


@pytest.mark.parametrize("size", [(32, 32), (20, 90), (131, 37), (36, 36)], ids=str)
def test_a_saved_model_takes_any_size(files: Any, model: Any, size: tuple[int, int]) -> None:
    images = pictures(size)
    expected = answers_by_pillow(model, images)
    given = files("savedmodel").predict(images)
    assert np.abs(given - expected).max() <= 1e-4 * expected.std()


def test_check_against_the_model_is_by_pillow(files: Any, model: Any) -> None:
    report = check(files("onnx").path, against=model)
    assert report.problems == ()
    assert report.comparison.top1_agreement == 1


def test_check_against_a_file_that_does_not_resize(
    files: Any, exported: Any, tmp_path: Path
) -> None:
    assert check(files("onnx").path, against=exported("onnx").path).problems == ()
    with pytest.raises(UsageError, match="check the other against it"):
        check(exported("onnx").path, against=files("onnx").path)


def test_predict_resizes_once(files: Any, model: Any, tmp_path: Path) -> None:
    """By itself: the pictures are given to the file as they are, each of its own size."""
    images = [pictures(size, 1)[0] for size in [(48, 80), (90, 61)]]
    expected = np.concatenate([answers_by_pillow(model, image[None]) for image in images])
    given = keras_vit.predict(files("savedmodel").path, images, top=1)
    labels = model.config.labels
    assert [best[0][0] for best in given] == [labels[i] for i in expected.argmax(1)]
    exponentials = np.exp(expected - expected.max(1, keepdims=True))
    shares = (exponentials / exponentials.sum(1, keepdims=True)).max(1)
    np.testing.assert_allclose([best[0][1] for best in given], shares, rtol=1e-3)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"path": "m.onnx"}, r"needs input_size=\(height, width\)"),
            ({"path": "m.tflite", "input_size": "any"}, "tflite cannot resize images of any size"),
            ({"path": "m", "input_size": 224}, "input_size has to be"),
            ({"path": "m", "input_size": (0, 4)}, "input_size has to be"),
            ({"path": "m", "preprocessing": "normalize", "input_size": (4, 4)}, "input_size is of"),
        ],
    )
    def test_before_any_work(
        self, model: Any, tmp_path: Path, arguments: dict[str, Any], message: str
    ) -> None:
        given = {"preprocessing": "baked", **arguments}
        path = tmp_path / given.pop("path")
        with pytest.raises(UsageError, match=message):
            export_model(model, path, **given)
        assert list(tmp_path.iterdir()) == []

    def test_without_a_configuration(self, model: Any, tmp_path: Path) -> None:
        import keras

        plain = keras.Model(model.input, model.output)
        with pytest.raises(UsageError, match='"baked" needs a model with a configuration'):
            export_model(plain, tmp_path / "m", preprocessing="baked")


@pytest.mark.parametrize(
    "change",
    [{"interpolation": "bilinear"}, {"crop_pct": 1.0}, {"crop_mode": "squash"}],
    ids=lambda change: next(iter(change)),
)
def test_a_wrong_resize_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any]
) -> None:
    """The verification asks Pillow, not the layer that is in the file."""
    import dataclasses

    from keras_vit.export import planning

    def wrong(mode: Any, values: Preprocessing, *rest: Any) -> Any:
        return build_front(mode, dataclasses.replace(values, **change), *rest)

    monkeypatch.setattr(planning, "build_front", wrong)
    with pytest.raises(ExportError, match="logits differs from the model"):
        export_model(
            classifier_of_pixels(VALUES),
            tmp_path / "m.onnx",
            preprocessing="baked",
            input_size=SIZE,
        )
    assert list(tmp_path.iterdir()) == []


def test_large_images_are_drawn_smaller() -> None:
    images = source_images(1300, 700)
    assert images.shape == (12, 1300, 700, 3)
    assert as_seen(images[:1], "baked", VALUES).shape == (1, 32, 32, 3)


def test_pixels_of_an_onnx_file_are_pillows(tmp_path: Path) -> None:
    """Every pixel that the model inside sees, for a few sizes; all 50 sizes are the slow test."""
    for size in [(50, 71), (64, 64), (120, 33)]:
        assert pixels_differ("onnx", size, tmp_path) == 0


RNG = np.random.default_rng(50)
SIZES = [tuple(int(side) for side in RNG.integers(16, 480, 2)) for _ in range(50)]


def pixels_differ(format: str, size: tuple[int, int], folder: Path) -> float:
    """The largest difference in grey levels between what a file sees and Pillow's pixels."""
    model = classifier_of_pixels(VALUES)
    path = file_in(folder, format)
    export_model(
        model,
        path,
        format,
        preprocessing="baked",
        input_size=size,
        outputs=["pixels"],
        verify=False,
        overwrite=True,
    )
    images = pictures(size)
    levels = grey_levels(open_artifact(path).run(images)["pixels"], VALUES)
    assert np.abs(levels - np.rint(levels)).max() < 1e-2
    return float(np.abs(np.rint(levels) - by_pillow(images, VALUES)).max())


@pytest.mark.slow
def test_fifty_sizes_in_three_formats(model: Any, tmp_path: Path) -> None:
    """Pixels equal to Pillow's, and the same top-1 in the three formats, the model's own after Pillow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("converts in this process, which has to have TensorFlow")
    any_size = tmp_path / "any"
    export_model(model, any_size, preprocessing="baked", outputs=["logits"])
    saved = open_artifact(any_size)
    for number, size in enumerate(SIZES):
        images = pictures(size, 3, seed=number)
        expected = answers_by_pillow(model, images)
        onnx = tmp_path / f"{number}.onnx"
        export_model(model, onnx, preprocessing="baked", input_size=size, verify=False)
        tflite = converted_here(model, size, tmp_path / f"{number}.tflite")
        for artifact in (saved, open_artifact(onnx), open_artifact(tflite)):
            given = artifact.predict(images)
            assert np.abs(given - expected).max() <= 1e-4 * expected.std(), (size, artifact.format)
            np.testing.assert_array_equal(given.argmax(1), expected.argmax(1))
        assert pixels_differ("onnx", size, tmp_path) == 0, size


def converted_here(model: Any, size: tuple[int, int], path: Path) -> Path:
    """A TFLite file written as the converting child writes it, without starting one."""
    front = build_front("baked", model.config.preprocessing, (*size, 3), "uint8")
    images = {"name": "images", "shape": [1, *size, 3], "dtype": "uint8"}
    request = {
        "format": "tflite",
        "artifact": str(path),
        "images": images,
        "own": ["logits"],
        "wanted": None,
        "xla": False,
        "metadata": metadata(
            name="small",
            config=model.config,
            labels=model.labels,
            mode="baked",
            input_dtype="uint8",
            image_size=(32, 32),
            backend="tensorflow",
            input_size=size,
        ),
    }
    convert(request, model, front)
    return path


FAMILIES = {
    "vit": ("vit_tiny_patch16_224", {**VIT, "reg_tokens": 2}),
    "deit": ("deit_tiny_distilled_patch16_224", VIT),
    "hybrid": ("vit_tiny_r_s16_p8_224", {"image_size": 64, "depth": 2, "num_classes": 7}),
    "bit": ("resnetv2_50x1_bit", {"image_size": 40, "layers": (1, 2), "num_classes": 7}),
    "cvt": ("cvt_13_224", CVT),
}


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_every_format(family: str, format: str, tmp_path: Path) -> None:
    """Baked, with every output but the inner maps, by the whole road; and again on other images."""
    name, arguments = FAMILIES[family]
    model = load(name, **arguments)
    size = None if format == "savedmodel" else (90, 71)
    outputs = ["logits", "probabilities", "top5", "features"]
    path = file_in(tmp_path, format)
    report = export_model(
        model, path, format, preprocessing="baked", input_size=size, outputs=outputs
    )
    assert report.verified and report.top1_agreement == 1
    images = pictures((90, 71), 3)
    expected = answers_by_pillow(model, images)
    given = open_artifact(path).run(images)
    assert np.abs(given["logits"] - expected).max() <= 1e-4 * expected.std()
    np.testing.assert_array_equal(given["top5_classes"], np.argsort(-expected, axis=1)[:, :5])
