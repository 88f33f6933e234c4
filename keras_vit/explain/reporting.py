"""`keras-vit explain`: figures of a model as files, and a page that shows them."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit import __version__
from keras_vit.config import Preprocessing
from keras_vit.data.sources import image_files
from keras_vit.data.transforms import ImageLike
from keras_vit.errors import NoPictureError, UsageError
from keras_vit.explain.canvas import THEMES
from keras_vit.explain.files import as_png, as_svg, data_uri, inches
from keras_vit.explain.kinds import KINDS, PAGE, ours, require_kinds, require_place
from keras_vit.export.staging import publish, staging
from keras_vit.page import document, fields_table, section

if TYPE_CHECKING:
    from keras_vit.explain.making import Drawing
    from keras_vit.explain.subjects import Subject


@dataclass(frozen=True)
class FigureFiles:
    """A figure that was written.

    Attributes:
        what: its kind. title: what stands on it. png, svg: its files.
        note: what the reader has to know, or empty.
    """

    what: str
    title: str
    png: str
    svg: str
    note: str


@dataclass(frozen=True)
class FiguresReport:
    """What `figures` wrote.

    Attributes:
        model, compare: what was explained. images: how many were looked at.
        page: the HTML page. figures: in its order.
        left_out: of each figure that was asked for and makes no sense here, why.
    """

    model: str
    compare: str | None
    images: int
    page: str
    figures: tuple[FigureFiles, ...]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def figures(
    model: Any,
    images: str | Path | np.ndarray | Sequence[ImageLike],
    out: str | os.PathLike[str],
    *,
    what: Sequence[str] | None = None,
    compare: Any = None,
    block: Sequence[int | str] | None = None,
    head: Sequence[int] | None = None,
    patch: tuple[int, int] | None = None,
    class_name: int | str | None = None,
    image_size: tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    theme: str = "light",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FiguresReport:
    """Draw what a model looks at, into a folder: PNG and SVG files, and a page that needs nothing else.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel or run folder, or a name.
            An exported file gives attention, rollout and distance, if it has the output `"attention"`.
        images: a file, a folder, one uint8 array (H, W, C), a batch (N, H, W, C), or a sequence of files and
            arrays. The first 8 are shown; distance and similarity are of all.
        out: a folder, made with those above it if it is not there.
        what: of `rollout`, `gradient-rollout`, `gradcam`, `attention`, `distance`, `position`, `filters`,
            `pca`, `similarity`. None is all but the last, or with `compare` that one alone.
        compare: another model for the similarity of layers, its rows; without it, `model` with itself.
        block: attention blocks by number or name, of `attention` and, the last one, of `pca`; None is all.
        head: heads by number, of `attention`.
        patch: (row, column) of the patch that looks, in place of the class token.
        class_name: the class that `gradcam` and `gradient-rollout` ask about, by label or number; None is
            each image's own prediction.
        image_size: (height, width) for a model that takes any.
        preprocessing: of a model that carries none.
        theme: `"light"` or `"dark"`, of the PNG files; SVG files and the page are as the reader's screen is.
        overwrite: replace the figures that are in the folder.
        progress: called with (figures done, all).

    Returns:
        What was written and what was left out.

    Raises:
        UsageError: a wrong argument, or none of the figures makes sense for the model.
        MissingPackageError: matplotlib is not installed.
        KerasVitError: a damaged image or model file.
    """
    out = Path(out)
    wanted = require_kinds(what, compare is not None)
    require_place(out, overwrite)
    if theme not in THEMES:
        raise UsageError(f"theme must be {' or '.join(THEMES)}, not {theme!r}")
    from keras_vit.explain.making import Task, drawings
    from keras_vit.explain.subjects import subject

    files = _images(images)
    mine = subject(model, files, preprocessing, image_size)
    others = None if compare is None else subject(compare, files, preprocessing)
    # The first of two is the one that is compared with: `--compare A B`.
    first, second = (mine, None) if others is None else (others, mine)
    task = Task(mine, blocks=block, heads=head, patch=patch, class_name=class_name)
    pair = Task(first, second)
    found: list[Drawing] = []
    left_out: dict[str, str] = {}
    for done, name in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted))
        try:
            found += drawings(name, pair if name == "similarity" else task)
        except NoPictureError as reason:
            left_out[name] = str(reason)
    if not found:
        raise NoPictureError(next(iter(left_out.values())))
    written = _write(out, found, left_out, mine, others, theme)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return FiguresReport(
        model=mine.name,
        compare=others.name if others else None,
        images=len(mine.images),
        page=str(out / PAGE),
        figures=written,
        left_out=left_out,
    )


def _images(images: Any) -> list[ImageLike]:
    """A list of files and arrays."""
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else list(images)
    several = [images] if isinstance(images, str | Path) else images
    found = [
        path
        for image in several
        for path in (image_files(image) if isinstance(image, str | Path) else [image])
    ]
    if not found:
        raise UsageError("there are no images to explain the model on")
    return found


def _write(
    out: Path,
    found: Sequence["Drawing"],
    left_out: Mapping[str, str],
    mine: "Subject",
    others: "Subject | None",
    theme: str,
) -> tuple[FigureFiles, ...]:
    """Every file, or none: they appear when all are whole."""
    written, shown = [], []
    out.parent.mkdir(parents=True, exist_ok=True)
    with staging(out) as folder:
        for drawing in found:
            light = drawing.draw("light")
            svg = as_svg(light, drawing.title)
            png = as_png(light if theme == "light" else drawing.draw(theme))
            (folder / f"{drawing.stem}.svg").write_text(svg, encoding="utf-8")
            (folder / f"{drawing.stem}.png").write_bytes(png)
            shown.append((drawing, svg))
            png_path, svg_path = (str(out / f"{drawing.stem}.{kind}") for kind in ("png", "svg"))
            written.append(
                FigureFiles(drawing.what, drawing.title, png_path, svg_path, drawing.note)
            )
        page = _page(shown, left_out, mine, others)
        (folder / PAGE).write_text(page, encoding="utf-8")
        new = sorted(folder.iterdir())
        stale = [path for path in ours(out) if path.name not in {each.name for each in new}]
        made = not out.exists()
        out.mkdir(exist_ok=True)
        try:
            publish([*((p, out / p.name) for p in new), *((None, path) for path in stale)], folder)
        except BaseException:
            if made:
                out.rmdir()
            raise
    return tuple(written)


def _page(
    shown: Sequence[tuple["Drawing", str]],
    left_out: Mapping[str, str],
    mine: "Subject",
    others: "Subject | None",
) -> str:
    """The page as HTML."""
    parts = []
    for what in dict.fromkeys(drawing.what for drawing, _ in shown):
        kind = KINDS[what]
        body = f'<p>{escape(kind.text)} <span class="soft">({escape(kind.source)})</span></p>'
        for drawing, svg in shown:
            if drawing.what == what:
                told = f"{drawing.note[:1].upper()}{drawing.note[1:]}."
                note = f'<p class="soft">{escape(told)}</p>' if drawing.note else ""
                body += (
                    f'{note}<figure class="sheet"><img style="width:calc({inches(svg):g} * '
                    f'var(--inch))" src="{data_uri(svg)}" alt="{escape(drawing.title)}"></figure>'
                )
        parts.append(section(kind.title, body))
    reasons = "".join(
        f"<li><b>{escape(KINDS[what].title)}</b>: {escape(reason)}</li>"
        for what, reason in left_out.items()
    )
    parts.append(section("Left out", f"<ul>{reasons}</ul>" if reasons else ""))
    height, width = mine.seen.shape[1:3]
    facts = {
        "model": mine.name,
        "weights": mine.weights,
        "compared with": others.name if others else None,
        "its weights": others.weights if others else None,
        "images": ", ".join(mine.file_names),
        "seen at": f"{height} x {width} pixels",
        "made by": f"keras_vit {__version__}",
    }
    parts.append(section("About", fields_table(facts)))
    count = len(mine.images)
    title = f"{others.name} and {mine.name}" if others else mine.name
    subtitle = f"What it looks at, on {count} image{'s' * (count > 1)}"
    return document(
        title, subtitle if others is None else f"Compared on {count} images", "".join(parts)
    )
