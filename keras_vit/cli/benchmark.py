"""`keras-vit benchmark`: model files side by side."""

from typing import TYPE_CHECKING

import click

from keras_vit.cli.output import bar, file_size, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from keras_vit.export import Measurement


@click.command("benchmark")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 8),
    show_default=True,
    metavar="N",
    help="Images at once; may be given several times.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, metavar="N")
@json_option
def command(
    files: tuple[str, ...], batch_sizes: tuple[int, ...], threads: int, rounds: int, as_json: bool
) -> None:
    """Measure size, load time, latency, memory and agreement of FILEs, in any mixture of formats.

    Each is run in a process of its own, on the CPU, in turns; the first is what the others are compared
    with. Trust the ratios more than the milliseconds.
    """
    from keras_vit.export import benchmark

    with bar(f"Measuring {len(files)} files") as advance:
        measured = benchmark(
            files, batch_sizes=batch_sizes, threads=threads, rounds=rounds, progress=advance
        )
    if as_json:
        print_json([one.to_dict() for one in measured])
        return
    times = [name for count in batch_sizes for name in (f"ms/{count}", f"x/{count}")]
    header = ["file", "size", "load", *times, "memory", "difference", "top-1"]
    print_table(header, [_row(one) for one in measured], " ".join(header[1:]))
    note(
        f"ms/N: milliseconds for N images, {threads} thread(s), median of {rounds}; x/N: over the first "
        "file's; memory: what opening and running added; difference, top-1: with the first file"
    )


def _row(one: "Measurement") -> list[str]:
    times = [
        cell for each in one.latencies for cell in (f"{each.milliseconds:.1f}", f"{each.ratio:.2f}")
    ]
    difference = "" if one.max_difference is None else f"{one.max_difference:.1e}"
    top1 = "" if one.top1_agreement is None else f"{one.top1_agreement:.0%}"
    size, memory = file_size(one.size), file_size(one.memory)
    return [one.path, size, f"{one.load_seconds:.2f} s", *times, memory, difference, top1]
