"""`keras-vit check`: reopen a file, and say what is wrong with it."""

import click

from keras_vit.cli.output import compared, file_size, json_option, print_fields, print_json, working
from keras_vit.errors import ExportError
from keras_vit.export import CheckReport


@click.command("check")
@click.argument("file")
@click.option(
    "--against", metavar="MODEL", help="A .keras file, or another artifact, to compare with."
)
@json_option
def command(file: str, against: str | None, as_json: bool) -> None:
    """Reopen FILE in its own runtime and say what is wrong with it.

    FILE is a .keras, .tflite or .onnx file, or a SavedModel folder. Operators, inputs, outputs,
    labels, preprocessing and the hash in the JSON beside it are looked at; exit code 1 if any of them
    is wrong, or if FILE does not compute what MODEL does.
    """
    from keras_vit.export import check

    with working(f"Checking {file}"):
        report = check(file, against)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if not report.passed:
        raise ExportError(f"{file} does not pass: {report.problems[0]}")


def _print(report: CheckReport) -> None:
    click.echo(f"{report.path}: {'passed' if report.passed else 'FAILED'}")
    print_fields(
        {
            "format": f"{report.format}, {file_size(report.size)}",
            "takes": "; ".join(map(str, report.inputs)),
            "gives": "; ".join(map(str, report.outputs)),
            "preprocessing": report.preprocessing,
            "labels": _labels(report.labels),
            "operators": _operators(report),
            "ran at batch": ", ".join(map(str, report.batches)),
            "compared": report.comparison and compared(report.comparison),
        },
        indent=2,
    )
    for problem in report.problems:
        click.echo(f"  problem: {problem}")
    for line in report.notes:
        click.echo(f"  note: {line}")


def _labels(labels: tuple[str, ...] | None) -> str | None:
    if not labels:
        return None
    return f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"


def _operators(report: CheckReport) -> str:
    """The most frequent first."""
    counts = sorted(report.operators.items(), key=lambda item: (-item[1], item[0]))
    return f"{sum(report.operators.values())}: " + ", ".join(f"{n} {name}" for name, n in counts)
