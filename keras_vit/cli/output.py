"""What commands print: results on stdout, as text or as one JSON document; progress on stderr."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from keras_vit.facts import scaled as scaled
from keras_vit.facts import size as size

if TYPE_CHECKING:
    from keras_vit.export import Comparison

_NUMBERS = re.compile(r"\[\n\s+((?:[-+.\deE]+,\n\s+)*[-+.\deE]+)\n\s+\]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(result: Any) -> None:
    """Print plain data as one JSON document; what is not finite becomes null.

    A list of nothing but numbers stays on one line: a confusion matrix has a line a row.
    """
    text = json.dumps(_plain(result), indent=2, ensure_ascii=False, allow_nan=False)
    # Line breaks inside of strings are escaped, so that only the lists themselves are found.
    click.echo(_NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
    """Print aligned columns under a header, in plain text, so that it can be piped.

    Args:
        header: one name a column. rows: as many cells each.
        right: the columns, by name and separated by blanks, that are flushed right.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    flushed = [name in right.split() for name in header]
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, flushed, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def print_fields(fields: Mapping[str, Any], indent: int = 0) -> None:
    """Print `name  value` lines, the values aligned; None and empty values are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{' ' * indent}{name.ljust(width)}  {value}")


def note(text: str) -> None:
    """Tell the user something that is not the result: one line on stderr."""
    click.echo(text, err=True)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show on a terminal, on stderr, that something is going on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal, on stderr, how far the work is; gives a function of (done, total)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def compared(comparison: "Comparison") -> str:
    """How near an artifact is to the model, in one line."""
    top1 = comparison.top1_agreement
    agreement = "" if top1 is None else f", the same top-1 on {top1:.1%}"
    if comparison.cosine_mean is not None:
        return (
            f"{comparison.images} images{agreement}, cosine {comparison.cosine_mean:.5f} "
            f"(lowest {comparison.cosine_min:.5f})"
        )
    return (
        f"{comparison.images} images, largest difference {comparison.max_difference:.1e} "
        f"({comparison.relative_difference:.1e} of the standard deviation){agreement}"
    )


def file_size(number: int) -> str:
    """Bytes as people read them: `22.1 MB` (of 10**6 bytes)."""
    if number < 10**6:
        return f"{number / 10**3:.1f} kB"
    return f"{number / 10**6:.1f} MB"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
