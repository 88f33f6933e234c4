"""HTML pages that need nothing but themselves: light or dark as the reader's screen is, and on paper."""

import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any


def document(title: str, subtitle: str, body: str) -> str:
    """A whole page.

    Args:
        title, subtitle: text. body: HTML.
    """
    style = importlib.resources.files("keras_vit").joinpath("page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>\n"
        f'<h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>\n'
        f"{body}</body></html>\n"
    )


def tiles(values: Mapping[str, str]) -> str:
    """The main figures, large, by their names."""
    parts = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{"".join(parts)}</div>\n'


def section(title: str, body: str) -> str:
    """A heading and HTML below it; nothing where there is none."""
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""


def fields_table(fields: Mapping[str, Any]) -> str:
    """A table of names and values; nested ones by their dotted names, without those that are None."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{_linked(value)}</td></tr>"
        for name, value in _flat(fields)
    )
    return f"<table>{rows}</table>"


def rows_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    """A table of text. `numbers`: the columns that are flushed right."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if i in numbers else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{line(header, 'th')}</tr>{body}</table>"


def _linked(value: str) -> str:
    """Text, and a link where it is one."""
    text = escape(value)
    return f'<a href="{text}">{text}</a>' if value.startswith("https://") else text


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", text if len(text) <= 600 else f"{text[:600]} ..."
