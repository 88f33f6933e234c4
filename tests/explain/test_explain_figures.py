"""`explain.figures`: which files there are, what the page says, and what is refused."""

import dataclasses
import re
import urllib.parse
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from explained import SIZE, small
from PIL import Image

from keras_vit import explain, export_model
from keras_vit.errors import MissingPackageError, NoPictureError, UsageError
from keras_vit.explain.kinds import KINDS
from keras_vit.explain.subjects import subject
from keras_vit.export import open_artifact

PHOTOS = np.random.default_rng(3).integers(0, 256, (3, *SIZE, 3), np.uint8)
LABELS = ("cat", "dog", "cup", "<b>")
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements of a page: raises where they are not nested as HTML wants them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data


def page(report: Any) -> Page:
    return Page(Path(report.page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"photo {i} & more.png" for i in range(len(PHOTOS))]
    for path, photo in zip(paths, PHOTOS, strict=True):
        Image.fromarray(photo).save(path)
    return paths


@pytest.fixture(scope="module")
def vit() -> Any:
    return small("vit", labels=LABELS)


@pytest.fixture(scope="module")
def whole(vit: Any, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All figures of a ViT."""
    return explain.figures(vit, files, tmp_path_factory.mktemp("whole") / "out")


def test_every_figure_is_a_png_and_an_svg(whole: Any) -> None:
    assert {figure.what for figure in whole.figures} == set(KINDS) - {"similarity"}
    assert not whole.left_out
    for figure in whole.figures:
        with Image.open(figure.png) as image:
            image.verify()
        ET.parse(figure.svg)
    written = {Path(p) for figure in whole.figures for p in (figure.png, figure.svg)}
    assert {*written, Path(whole.page)} == set(Path(whole.page).parent.iterdir())


def test_the_page_stands_alone(whole: Any) -> None:
    found = page(whole)
    assert len(found.sources) == len(whole.figures)
    assert all(source.startswith("data:image/svg+xml,") for source in found.sources)
    assert not {"script", "link", "iframe", "object"} & found.tags
    text = Path(whole.page).read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", text.partition("</style>")[0])
    for source in found.sources:
        svg = ET.fromstring(urllib.parse.unquote(source.partition(",")[2]))
        links = [v for e in svg.iter() for name, v in e.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_the_page_says_what_was_explained(whole: Any, vit: Any) -> None:
    found = page(whole)
    assert vit.name in found.text
    assert "photo 1 & more.png" in found.text
    assert all(kind.title in found.text for name, kind in KINDS.items() if name != "similarity")
    assert "48 x 32 pixels" in found.text


def test_the_report_is_plain_data(whole: Any) -> None:
    plain = whole.to_dict()
    assert plain["images"] == 3
    assert plain["figures"][0]["what"] == "rollout"


@pytest.mark.parametrize(
    ("family", "left_out"),
    [
        ("cvt", {"rollout", "gradient-rollout", "position"}),
        ("bit", {"rollout", "gradient-rollout", "attention", "distance", "position"}),
    ],
)
def test_what_makes_no_sense_is_left_out_and_named(
    models: dict[str, Any], tmp_path: Path, family: str, left_out: set[str]
) -> None:
    wanted = [*sorted(left_out), "filters"]
    report = explain.figures(models[family], PHOTOS[:1], tmp_path / "out", what=wanted)
    assert set(report.left_out) == left_out
    assert [f.what for f in report.figures] == ["filters"]
    found = page(report)
    assert all(reason in found.text for reason in report.left_out.values())
    assert all("\n" not in reason for reason in report.left_out.values())


@pytest.mark.parametrize(
    ("family", "what", "message"),
    [
        ("bit", ["rollout"], "has no attention"),
        ("bit", ["rollout", "distance"], "has no attention"),
        ("cvt", ["position"], "has no position embedding"),
    ],
)
def test_alone_it_is_refused(
    models: dict[str, Any], tmp_path: Path, family: str, what: list[str], message: str
) -> None:
    with pytest.raises(NoPictureError, match=message):
        explain.figures(models[family], PHOTOS, tmp_path / "out", what=what)
    assert not list(tmp_path.iterdir())


def test_a_cvt_says_where_its_class_token_is(models: dict[str, Any], tmp_path: Path) -> None:
    report = explain.figures(models["cvt"], PHOTOS[:1], tmp_path / "out", what=["attention"])
    assert "the class token is in 2 of 4 blocks alone" in report.figures[0].note


def test_a_patch_and_a_block_and_a_head(vit: Any, tmp_path: Path) -> None:
    from keras_vit.explain.making import Task, drawings

    task = Task(subject(vit, list(PHOTOS)), blocks=["-1"], heads=[2], patch=(2, 1))
    first, *_ = drawings("attention", task)
    figure = first.draw("light")
    expected = explain.attention_maps(vit, task.subject.images, (2, 1), ["blocks_1"])["blocks_1"]
    heat = figure.axes[1].images[1]
    np.testing.assert_array_equal(heat.get_array(), expected[0, 2])
    assert "blocks_1, head 2" in [text.get_text() for text in figure.texts]
    assert "row 2, column 1" in first.title
    (mark, _) = figure.axes[0].lines
    assert (mark.get_ydata()[0], mark.get_xdata()[0]) == (2 * 16 + 8, 16 + 8)


def test_captions_are_the_models_answers(vit: Any) -> None:
    from keras_vit.explain.making import Task

    ready = subject(vit, list(PHOTOS))
    logits = vit.predict_on_batch(ready.images).astype(np.float64)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    for i, caption in enumerate(Task(ready).captions):
        best = shares[i].argmax()
        assert caption == f"image {i + 1}: {LABELS[best]}, {shares[i, best]:.1%}"
    asked = Task(ready, class_name="dog").captions
    assert asked[0] == f"image 1: dog, {shares[0, 1]:.1%}"


def test_without_a_class_token_all_patches_are_asked(tmp_path: Path) -> None:
    model = small("vit", class_token=False, global_pool="avg", depth=1)
    report = explain.figures(model, PHOTOS[:1], tmp_path / "out", what=["rollout"])
    assert "all patches on average" in report.figures[0].title


def test_registers_are_no_patches(tmp_path: Path) -> None:
    model = small("vit", reg_tokens=4, depth=1)
    assert explain.attention_rollout(model, subject(model, list(PHOTOS)).images).shape == (3, 3, 2)


def test_two_models_are_compared(vit: Any, models: dict[str, Any], tmp_path: Path) -> None:
    report = explain.figures(models["cvt"], PHOTOS, tmp_path / "out", compare=vit)
    assert [figure.what for figure in report.figures] == ["similarity"]
    assert report.compare == vit.name
    assert f"{vit.name} and {models['cvt'].name}" in page(report).text


def test_of_many_images_some_are_shown(vit: Any, tmp_path: Path) -> None:
    many = np.concatenate([PHOTOS] * 4)
    report = explain.figures(vit, many, tmp_path / "out", what=["pca", "distance"])
    notes = {figure.what: figure.note for figure in report.figures}
    assert notes["pca"] == "the first 8 of 12 images"
    assert notes["distance"].startswith("the mean over 12 images")


def test_only_its_own_files_are_replaced(vit: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    explain.figures(vit, PHOTOS[:1], out, what=["filters"])
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="out exists; pass overwrite=True"):
        explain.figures(vit, PHOTOS[:1], out, what=["position"])
    explain.figures(vit, PHOTOS[:1], out, what=["position"], overwrite=True)
    assert {p.name for p in out.iterdir()} == {
        "mine.txt",
        "position.png",
        "position.svg",
        "report.html",
    }


def test_the_theme_is_of_the_png(vit: Any, tmp_path: Path) -> None:
    light = explain.figures(vit, PHOTOS[:1], tmp_path / "a", what=["position"])
    dark = explain.figures(vit, PHOTOS[:1], tmp_path / "b", what=["position"], theme="dark")
    corner = [Image.open(r.figures[0].png).getpixel((0, 0))[:3] for r in (light, dark)]
    assert corner == [(255, 255, 255), (0x14, 0x17, 0x1B)]
    svgs = [Path(r.figures[0].svg).read_text().count("#ffffff") for r in (light, dark)]
    assert svgs[0] == svgs[1] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": ["rollouts"]}, "no figure rollouts: rollout,"),
        ({"what": []}, "no figure asked for"),
        ({"what": ["pca"], "compare": "x.keras"}, "compare is for the figure similarity"),
        ({"block": [2]}, "no block 2: .* has 2, from 0"),
        ({"block": ["norm"]}, "no attention in norm: there is blocks_0, blocks_1"),
        ({"head": [3]}, "no head 3 in blocks_0: it has 3, from 0"),
        ({"patch": (3, 0)}, r"patch \(3, 0\) is not on the grid of \(3, 2\) patches"),
        ({"class_name": "horse"}, "no class 'horse' among the model's labels: cat"),
        ({"class_name": 4}, "classes must be in 0..3|there is no class 4"),
        ({"image_size": (64, 64)}, "takes images of 48x32 and no others"),
        ({"theme": "grey"}, "theme must be light or dark"),
    ],
)
def test_misuse(vit: Any, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    wanted = {"what": ["attention", "gradcam"], **arguments}
    with pytest.raises(UsageError, match=message) as caught:
        explain.figures(vit, PHOTOS[:1], tmp_path / "out", **wanted)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weights", "trained_from", "name"),
    [
        (None, (), "vit_tiny"),
        ("hf://org/vit_tiny", (), "vit_tiny.in1k"),
        ("trained", (None,), "vit_tiny"),
        ("trained", ("hf://org/vit_tiny",), "vit_tiny.in1k"),
    ],
)
def test_a_tag_is_told_where_its_weights_are(
    vit: Any,
    monkeypatch: pytest.MonkeyPatch,
    weights: str | None,
    trained_from: tuple[str | None, ...],
    name: str,
) -> None:
    training = {"model": {"weights": trained_from[0]}} if trained_from else None
    config = dataclasses.replace(
        vit.config, name="vit_tiny.in1k", weights=weights, training=training
    )
    monkeypatch.setattr("keras_vit.explain.subjects.configuration", lambda model: config)
    assert subject(vit, PHOTOS[:1]).name == name


def test_no_place(vit: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; choose another name"):
        explain.figures(vit, PHOTOS, tmp_path / "file")
    with pytest.raises(UsageError, match="is a file; choose another name"):
        explain.figures(vit, PHOTOS, tmp_path / "file" / "out")
    with pytest.raises(UsageError, match="there are no images"):
        explain.figures(vit, [], tmp_path / "out")


def test_without_matplotlib(vit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'keras-vit-zoo\[explain\]'"):
        explain.figures(vit, PHOTOS, tmp_path / "out")


# Exported files


@pytest.fixture(scope="module")
def onnx(vit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "flowers.onnx"
    export_model(
        vit, path, preprocessing="normalize", outputs=["logits", "attention"], verify=False
    )
    return path


def agrees(path: Path, model: Any) -> None:
    """What a file gives is what its model gives."""
    mine, its = subject(model, list(PHOTOS)), subject(path, list(PHOTOS))
    np.testing.assert_array_equal(mine.seen, its.seen)
    pairs = [
        (explain.attention_maps, "blocks_1"),
        (explain.attention_distance, "blocks_1"),
        (explain.attention_rollout, None),
    ]
    for function, key in pairs:
        expected, found = function(model, mine.images), function(its.model, its.images)
        if key:
            assert list(found) == list(expected)
            expected, found = expected[key], found[key]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(its.shares(), mine.shares(), atol=1e-5)


def test_an_onnx_file(vit: Any, onnx: Path) -> None:
    agrees(onnx, vit)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.tflite", "a_savedmodel"])
def test_other_formats(vit: Any, tmp_path: Path, name: str) -> None:
    export_model(
        vit,
        tmp_path / name,
        preprocessing="normalize",
        outputs=["logits", "attention"],
        verify=False,
    )
    agrees(tmp_path / name, vit)


@pytest.mark.slow
def test_a_file_that_resizes_itself(vit: Any, tmp_path: Path) -> None:
    path = tmp_path / "baked_savedmodel"
    export_model(vit, path, preprocessing="baked", outputs=["logits", "attention"], verify=False)
    photos = list(np.random.default_rng(0).integers(0, 256, (2, 90, 80, 3), np.uint8))
    mine, its = subject(vit, photos), subject(path, photos)
    assert its.images.shape[1:3] != mine.seen.shape[1:3]
    rollouts = [explain.attention_rollout(s.model, s.images) for s in (mine, its)]
    # It resizes what was resized: not to the bit what was resized once.
    np.testing.assert_allclose(*rollouts, atol=0.02)


@pytest.mark.slow
def test_a_cvts_file_knows_its_grids(models: dict[str, Any], tmp_path: Path) -> None:
    model, path = models["cvt"], tmp_path / "cvt.onnx"
    export_model(model, path, outputs=["attention"], verify=False)
    mine, its = subject(model, list(PHOTOS)), subject(path, list(PHOTOS))
    expected = explain.attention_distance(model, mine.images)
    found = explain.attention_distance(its.model, its.images)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4)
    with pytest.raises(NoPictureError, match="has no rollout"):
        explain.attention_rollout(its.model, its.images)


def test_what_a_file_cannot_give(onnx: Path, tmp_path: Path) -> None:
    lacking = ["gradient-rollout", "gradcam", "position", "filters", "pca", "similarity"]
    report = explain.figures(onnx, PHOTOS, tmp_path / "out", what=["distance", *lacking])
    assert [figure.what for figure in report.figures] == ["distance"]
    assert list(report.left_out) == lacking
    reasons = set(report.left_out.values())
    assert reasons == {f"{onnx} gives its outputs alone: this takes the Keras model"}


def test_a_file_without_attention(vit: Any, tmp_path: Path) -> None:
    export_model(vit, tmp_path / "plain.onnx", verify=False)
    with pytest.raises(NoPictureError, match=r'export it with outputs=\["logits", "attention"\]'):
        explain.figures(tmp_path / "plain.onnx", PHOTOS, tmp_path / "out", what=["attention"])


def test_a_file_with_the_attention_of_one_block(vit: Any, tmp_path: Path) -> None:
    path = tmp_path / "some.onnx"
    export_model(vit, path, outputs=["attention_blocks_1"], verify=False)
    report = explain.figures(path, PHOTOS, tmp_path / "out", what=["rollout", "attention"])
    assert "it does not give blocks_0" in report.left_out["rollout"]


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    path = tmp_path / "foreign.onnx"
    export_model(model, path, verify=False)
    artifact = open_artifact(path)
    with pytest.raises(NoPictureError, match="does not say which of keras_vit's models it holds"):
        explain.attention_maps(artifact, np.zeros((1, 8, 8, 3), np.float32))
