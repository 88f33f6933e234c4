"""Figures show the arrays that they are given, under labels that can be read. No Keras here."""

import functools
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection

from keras_vit.errors import MissingPackageError, UsageError
from keras_vit.explain.canvas import THEMES
from keras_vit.explain.files import as_png, as_svg, data_uri, inches
from keras_vit.explain.names import short_names
from keras_vit.explain.pictures import (
    draw_attention,
    draw_components,
    draw_grad_cam,
    draw_gradient_rollout,
    draw_rollout,
)
from keras_vit.explain.plots import draw_distance, draw_filters, draw_position, draw_similarity

RNG = np.random.default_rng(0)
SEEN = [RNG.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(3)]
MAPS = RNG.random((3, 2, 3))
BLOCKS = {f"blocks_{i}": RNG.random((2, 2, 3)) for i in range(3)}
CAPTIONS = ["a.png: cat, 90.0%", "b.png: $dog$, 80.0%", "c.png: cup, 70.0%"]
NAME = "Attention of the class token: vit_base_patch16_224.augreg2_in21k_ft_in1k and more"
STAGES = [f"stages_{s}_blocks_{i}" for s, n in enumerate((1, 2, 10)) for i in range(n)]


class Pairs:
    """As `layer_similarity` gives them."""

    rows = tuple(f"blocks_{i}" for i in range(4))

    def __init__(self, columns: tuple[str, ...] = tuple(STAGES)) -> None:
        self.columns = columns
        self.values = RNG.random((4, len(columns)))


FIGURES: dict[str, Any] = {
    "attention": lambda **k: draw_attention(SEEN[0], BLOCKS, caption=CAPTIONS[0], **k),
    "attention of many": lambda **k: draw_attention(
        SEEN[0], {f"blocks_{i}": RNG.random((16, 2, 2)) for i in range(4)}, **k
    ),
    "attention of a block": lambda **k: draw_attention(
        SEEN[0], {"blocks_1": RNG.random((9, 2, 3))}, at=(3, 9), **k
    ),
    "attention of stages": lambda **k: draw_attention(
        SEEN[0], {name: RNG.random((1 + i, 2, 3)) for i, name in enumerate(STAGES[:6])}, **k
    ),
    "rollout": lambda **k: draw_rollout(SEEN, MAPS, captions=CAPTIONS, **k),
    "rollout of one": lambda **k: draw_rollout(SEEN[:1], MAPS[:1], captions=CAPTIONS[:1], **k),
    "gradient rollout": lambda **k: draw_gradient_rollout(SEEN, MAPS, captions=CAPTIONS, **k),
    "gradcam": lambda **k: draw_grad_cam(SEEN, MAPS, **k),
    "components": lambda **k: draw_components(
        SEEN, RNG.normal(size=(3, 2, 3, 3)), captions=CAPTIONS, **k
    ),
    "distance": lambda **k: draw_distance({name: RNG.random(3) for name in STAGES}, **k),
    "position": lambda **k: draw_position(RNG.random((14, 14, 14, 14)), **k),
    "position of a wide grid": lambda **k: draw_position(RNG.random((3, 20, 3, 20)), **k),
    "filters": lambda **k: draw_filters(RNG.normal(size=(9, 4, 4, 3)), np.full(9, 0.1), **k),
    "similarity": lambda **k: draw_similarity(Pairs(), ("a long name of a model" * 4, "b"), **k),
    "similarity of layers of two kinds": lambda **k: draw_similarity(
        Pairs(columns=("embedding", *STAGES, "norm")), ("a", "b"), **k
    ),
}


@functools.cache
def drawn(name: str) -> Any:
    """Figures take a while."""
    return FIGURES[name](title=NAME)


def texts(figure: Any) -> list[Any]:
    """All that can be read."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
        legend = axes.get_legend()
        found += legend.get_texts() if legend else []
    return [text for text in found if text.get_text()]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def pictures(figure: Any) -> list[Any]:
    return [image for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_clipped_or_covered(name: str) -> None:
    figure = drawn(name)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # puts labels where they belong
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    for i, (text, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text
        for other, another in boxes[:i]:
            assert not box.padded(-0.5).overlaps(another), (text, other)
    for text in texts(figure):
        assert text.get_fontsize() >= 7, text


@pytest.mark.parametrize("name", FIGURES)
def test_no_panel_covers_names_of_another(name: str) -> None:
    figure = drawn(name)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            named = axis.get_tightbbox(renderer)
            for other in figure.axes:
                covered = named and other.get_window_extent().padded(-0.5).overlaps(named)
                assert other is axes or not covered, other.get_title()


@pytest.mark.parametrize("name", FIGURES)
def test_panels_do_not_cover_each_other(name: str) -> None:
    figure = drawn(name)
    boxes = [axes.get_position() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1
        assert not any(box.padded(-1e-6).overlaps(other) for other in boxes[:i])


def test_attention_has_a_map_a_block_and_head() -> None:
    figure = draw_attention(SEEN[0], BLOCKS, title=None)
    photo, _, *maps = pictures(figure)
    np.testing.assert_array_equal(photo.get_array(), SEEN[0])
    expected = [head for block in BLOCKS.values() for head in block]
    assert len(maps) == len(expected)
    for image, values in zip(maps, expected, strict=True):
        np.testing.assert_array_equal(image.get_array(), values)
        assert image.get_clim() == (0, values.max())
    assert {"block 0", "block 2", "head", "0", "1"} <= set(words(figure))


def test_attention_names_the_heads_it_shows() -> None:
    figure = draw_attention(SEEN[0], {"blocks_5": BLOCKS["blocks_0"]}, heads=(3, 7))
    assert {"blocks_5, head 3", "blocks_5, head 7"} <= set(words(figure))


def test_the_patch_that_looks_is_marked() -> None:
    figure = draw_attention(SEEN[0], BLOCKS, at=(7.5, 23.5))
    (marks,) = [axes.lines for axes in figure.axes if axes.lines]
    assert {(float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in marks} == {(24.0, 8.0)}


@pytest.mark.parametrize(
    ("draw", "low"), [(draw_rollout, None), (draw_gradient_rollout, 0.0), (draw_grad_cam, 0.0)]
)
def test_a_heat_map_over_each_image(draw: Any, low: float | None) -> None:
    figure = draw(SEEN, MAPS, captions=CAPTIONS)
    found = pictures(figure)
    for i, (seen, values) in enumerate(zip(SEEN, MAPS, strict=True)):
        photo, _, heat = found[3 * i : 3 * i + 3]
        np.testing.assert_array_equal(photo.get_array(), seen)
        np.testing.assert_array_equal(heat.get_array(), values)
        assert heat.get_clim() == (values.min() if low is None else low, values.max())
        assert heat.get_cmap().name == "viridis"
        assert tuple(heat.get_extent()) == (0, 48, 32, 0)
    assert set(CAPTIONS) <= set(words(figure))
    least = MAPS[0].min() if low is None else low
    assert f"{least:.3g} to {MAPS[0].max():.3g}" in words(figure)


def test_a_grey_image_and_one_of_five_channels() -> None:
    grey, several = np.full((4, 4, 1), 7, np.uint8), np.zeros((4, 4, 5), np.uint8)
    figure = draw_rollout([grey, several], MAPS[:2])
    shapes = [image.get_array().shape for image in pictures(figure)]
    assert shapes[:4:3] == [(4, 4), (4, 4, 3)]


def test_components_are_colours_and_maps() -> None:
    components = RNG.normal(size=(3, 2, 3, 3))
    components[1, 0] = np.nan
    colours = pictures(draw_components(SEEN, components))
    rgb = np.array([colours[5 * i + 1].get_array() for i in range(3)])
    assert rgb.min() >= 0 and rgb.max() <= 1
    np.testing.assert_array_equal(rgb[..., 3] == 0, np.isnan(components[..., 0]))
    known = np.isfinite(components[..., 1])
    order = np.argsort(components[..., 1][known])
    assert (np.diff(rgb[..., 1][known][order]) >= 0).all()


def test_distance_has_a_dot_a_head_and_the_mean() -> None:
    distances = {"blocks_0": np.array([1.0, 3.0]), "blocks_1": np.array([5.0, 9.0])}
    (axes,) = draw_distance(distances).axes
    (dots,) = [c for c in axes.collections if isinstance(c, PathCollection)]
    np.testing.assert_array_equal(dots.get_offsets(), [[0, 1], [0, 3], [1, 5], [1, 9]])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2, 7])
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlabel() == "block"
    assert axes.get_ylabel() == "pixels of the image"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]


def test_position_puts_each_patch_in_its_place() -> None:
    similarity = RNG.uniform(-1, 1, (3, 2, 3, 2))
    image = pictures(draw_position(similarity))[0]
    mosaic = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(mosaic[4:7, 3:5], similarity[1, 1])
    assert np.isnan(mosaic[3]).all() and np.isnan(mosaic[:, 2]).all()
    assert image.get_clim() == (-1, 1)


def test_position_of_many_patches_shows_some() -> None:
    similarity = RNG.uniform(-1, 1, (2, 20, 2, 20))
    figure = draw_position(similarity)
    image = pictures(figure)[0]
    np.testing.assert_array_equal(np.ma.getdata(image.get_array())[:2, 21:41], similarity[0, 2])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:3] == ["0", "2", "4"]


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_are_grey_where_there_is_no_weight(channels: int) -> None:
    components = np.zeros((2, 2, 2, channels))
    components[:, 0, 0] = [[2.0], [-3.0]]
    figure = draw_filters(components, np.array([0.75, 0.25]))
    first, second = (np.asarray(image.get_array()) for image in pictures(figure))
    assert (first[0, 0] == 1).all() and (first[1] == 0.5).all()
    assert (second[0, 0] == 0).all() and (second[1] == 0.5).all()
    assert {"75.0%", "25.0%"} <= set(words(figure))


def test_similarity_grows_upwards() -> None:
    pairs = Pairs()
    figure = draw_similarity(pairs, ("first", "second"))
    axes, image = figure.axes[0], pictures(figure)[0]
    np.testing.assert_array_equal(image.get_array(), pairs.values)
    assert (image.origin, image.get_clim()) == ("lower", (0, 1))
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("first", "second")
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0.0", "1.0", "1.1"]


def test_short_names_tell_layers_apart() -> None:
    assert short_names(["blocks_0", "blocks_11"]) == ["0", "11"]
    assert short_names(["stages_0_blocks_1", "stages_2_blocks_0"]) == ["0.1", "2.0"]
    assert short_names(["blocks_0", "norm"]) == ["blocks_0", "norm"]


def contrast(one: str, other: str) -> float:
    """WCAG 2's."""

    def light(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_themes_can_be_read(theme: str) -> None:
    colours = THEMES[theme]
    assert contrast(colours.text, colours.paper) >= 7
    assert contrast(colours.soft, colours.paper) >= 4.5
    assert min(contrast(c, colours.paper) for c in (colours.first, colours.second)) >= 3
    figure = draw_distance({"blocks_0": np.ones(2), "blocks_1": np.ones(2)}, theme=theme)
    from matplotlib.colors import to_hex

    assert to_hex(figure.get_facecolor()) == colours.paper


def test_another_theme() -> None:
    with pytest.raises(UsageError, match="theme must be light or dark, not 'grey'"):
        draw_distance({"blocks_0": np.ones(2)}, theme="grey")


def test_an_svg_is_whole_and_turns_dark() -> None:
    svg = as_svg(draw_distance({"blocks_0": np.ones(2)}), "A <title>")
    root = ET.fromstring(svg)
    assert inches(svg) == 5.6
    (style,) = [
        e.text for e in root.iter("{http://www.w3.org/2000/svg}style") if "prefers" in e.text
    ]
    light, dark = THEMES["light"], THEMES["dark"]
    assert f'[style*="fill: {light.text}"]{{fill:{dark.text} !important}}' in style
    used = {part for part in (light.text, light.paper, light.first) if f"fill: {part}" in svg}
    assert used == {light.text, light.paper, light.first}
    assert urllib.parse.unquote(data_uri(svg)).endswith(svg[svg.index("<svg") :])


def test_a_png_is_200_pixels_an_inch() -> None:
    from io import BytesIO

    from PIL import Image

    png = as_png(draw_distance({"blocks_0": np.ones(2)}))
    assert Image.open(BytesIO(png)).width == 1120


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'keras-vit-zoo\[explain\]'"):
        draw_distance({"blocks_0": np.ones(2)})


def test_nothing_global_is_touched() -> None:
    code = (
        "import sys, numpy as np, matplotlib\n"
        "before = matplotlib.rcParams.copy()\n"
        "from keras_vit.explain.plots import draw_distance\n"
        "from keras_vit.explain.files import as_svg\n"
        "as_svg(draw_distance({'blocks_0': np.ones(2)}), 'x')\n"
        "assert not {'matplotlib.pyplot', 'keras', 'tensorflow'} & set(sys.modules)\n"
        "changed = [k for k in before if k != 'backend' and before[k] != matplotlib.rcParams[k]]\n"
        "assert not changed, changed\n"  # to ask for the backend is to choose one
    )
    subprocess.run([sys.executable, "-c", code], check=True)
