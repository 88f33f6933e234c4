"""From what the runs measured to a table and to answers: plain data."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keras_vit.experiments.specs import Comparison, Experiment

Row = Mapping[str, Any]
"""Of one run: `variant`, `seed`, and what was measured."""

_UNITS = {
    "accuracy": "{:.2%}",
    "top5": "{:.2%}",
    "loss": "{:.4f}",
    "seconds": "{:.1f} s",
    "images_per_second": "{:.0f}",
    "parameters": "{:,.0f}",
    "images": "{:,.0f}",
}


@dataclass(frozen=True)
class Difference:
    """What a comparison found.

    Attributes:
        of, against, paper: as in `Comparison`.
        each: difference of the accuracies, 0..1, with each seed. mean: of them.
        deviation: their sample standard deviation; None of one seed.
        verdict: a sentence.
    """

    of: str
    against: str
    paper: str
    each: tuple[float, ...]
    mean: float
    deviation: float | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def summary(experiment: Experiment, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row a variant: `variant`, and of each measure its mean and, as `NAME_deviation`, its spread.

    The spread is the sample standard deviation over the seeds, None of one seed.
    """
    found = []
    for variant in experiment.variants:
        runs = [row for row in rows if row["variant"] == variant.name]
        line: dict[str, Any] = {"variant": variant.name, "seeds": len(runs)}
        for name in experiment.columns:
            values = [run[name] for run in runs if run.get(name) is not None]
            line[name] = statistics.mean(values) if values else None
            line[f"{name}_deviation"] = _deviation(values)
        found.append(line)
    return found


def differences(experiment: Experiment, rows: Sequence[Row]) -> list[Difference]:
    """The answers of the comparisons, seed by seed."""
    return [_difference(comparison, rows) for comparison in experiment.comparisons]


def _difference(comparison: Comparison, rows: Sequence[Row]) -> Difference:
    of, against = (
        {row["seed"]: row["accuracy"] for row in rows if row["variant"] == name}
        for name in (comparison.of, comparison.against)
    )
    each = tuple(of[seed] - against[seed] for seed in sorted(of.keys() & against.keys()))
    return Difference(
        **asdict(comparison),
        each=each,
        mean=statistics.mean(each),
        deviation=_deviation(each),
        verdict=_verdict(comparison, each),
    )


def _verdict(comparison: Comparison, each: Sequence[float]) -> str:
    seeds = "the one seed" if len(each) == 1 else f"each of {len(each)} seeds"
    points = ", ".join(f"{100 * value:+.2f}" for value in each)
    above, below = sum(value > 0 for value in each), sum(value < 0 for value in each)
    if above == len(each):
        found = f"is above with {seeds}"
    elif below == len(each):
        found = f"is below with {seeds}"
    elif not above and not below:
        found = f"is level with {seeds}"
    else:
        level = len(each) - above - below
        counts = {"above": above, "level": level, "below": below}
        told = [f"{side} with {count}" for side, count in counts.items() if count]
        found = f"is {', '.join(told[:-1])} and {told[-1]} of {len(each)} seeds"
    return f"{comparison.of} {found} ({points} points against {comparison.against})"


def shown(line: Mapping[str, Any], name: str) -> str:
    """A cell of the table, as text: mean and spread."""
    value, spread = line.get(name), line.get(f"{name}_deviation")
    if value is None:
        return ""
    text = _UNITS.get(name, "{}").format(value)
    steady = spread is None or name in ("parameters", "images")
    return text if steady else f"{text} ± {_UNITS.get(name, '{}').format(spread)}"


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
