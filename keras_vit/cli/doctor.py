"""`keras-vit doctor`: does everything work here."""

import click

from keras_vit.cli.output import json_option, print_fields, print_json, print_table, working
from keras_vit.diagnosis import DoctorReport, doctor
from keras_vit.errors import KerasVitError


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show versions and devices, and try a tiny export in each format.

    Exit code 1 if something that is not optional is missing or does not work.
    """
    with working("Trying everything, for half a minute"):
        report = doctor()
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if not report.passed:
        raise KerasVitError(_complaint(report))


def _print(report: DoctorReport) -> None:
    print_fields(
        {
            "keras-vit": report.keras_vit,
            "python": report.python,
            "system": report.system,
            "backend": report.backend,
            "devices": ", ".join(report.devices),
        }
    )
    click.echo()
    print_table(
        ["PACKAGE", "VERSION", "NEEDED", ""],
        [
            [
                package.name,
                package.version or "-",
                f"[{package.extra}]" if package.extra else "always",
                package.install or "",
            ]
            for package in report.packages
        ],
    )
    click.echo()
    print_table(
        ["TRIAL", "RESULT", "SECONDS", ""],
        [
            [trial.name, "pass" if trial.passed else "FAIL", f"{trial.seconds:.1f}", trial.message]
            for trial in report.trials
        ],
        right="SECONDS",
    )


def _complaint(report: DoctorReport) -> str:
    failed = [f"{trial.name}: {trial.message}" for trial in report.trials if not trial.passed]
    missing = [p.install for p in report.packages if p.install and p.extra is None]
    return (failed or [f"run {command}" for command in missing])[0]
