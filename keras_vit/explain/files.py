"""Figures as files: PNG for paper and slides, SVG that follows the reader's light or dark screen."""

import io
import re
import urllib.parse
from dataclasses import fields
from typing import TYPE_CHECKING

from keras_vit.explain.canvas import THEMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PNG_DPI, _SVG_DPI = 200, 150  # of an SVG, the pictures inside


def as_png(figure: "Figure") -> bytes:
    """A PNG file of 200 pixels an inch."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return file.getvalue()


def as_svg(figure: "Figure", title: str) -> str:
    """An SVG file of a figure in the light theme, which turns dark where the reader's screen is.

    Letters are shapes, so that it looks the same everywhere.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=_SVG_DPI, metadata={"Date": None, "Title": title})
    text = file.getvalue()
    head = text.index("<defs>")
    return f"{text[:head]}<style>{_dark_style()}</style>{text[head:]}"


def data_uri(svg: str) -> str:
    """An SVG file inside of an `src` attribute in double quotes."""
    body = svg[svg.index("<svg") :]
    # Base64 would swell the pictures inside a second time.
    return f"data:image/svg+xml,{urllib.parse.quote(body, safe=' =:/;,.()+-_!*')}"


def inches(svg: str) -> float:
    """How wide an SVG file of matplotlib's is, which counts in points."""
    found = re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg, re.DOTALL)
    assert found is not None
    return float(found[1]) / 72


def _dark_style() -> str:
    """Rules that put each colour of the light theme, however it is used, in the dark theme's place."""
    light, dark = THEMES["light"], THEMES["dark"]
    rules = (
        f'[style*="{use}: {getattr(light, each.name)}"]'
        f"{{{use}:{getattr(dark, each.name)} !important}}"
        for each in fields(light)
        for use in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme: dark){{{''.join(rules)}}}"
