"""Which operators static int8 leaves in float32: the first of a few choices that keeps the decisions.

A choice is a rung: it leaves in float32 what the one before it does, and one group of operators more.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.errors import ExportError
from keras_vit.export.agreement import Agreement, Bar, agree, shortfalls

_GOOD_COSINES = (0.99, 0.9)
"""Mean and lowest cosine at which no more is left in float32: on the way up, not what a file has to have."""


@dataclass(frozen=True)
class Rung:
    """What is left in float32.

    Attributes:
        group: what this rung adds, in words; empty on the first.
        operators: all that is left in float32 on it: names of nodes or of kinds.
    """

    group: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Samples:
    """Images for a file, and what the model answers to some of them.

    Attributes:
        calibrating: to find ranges on. held_out: to judge by. Both as the file takes them.
        expected: the model's outputs for the latter, by name.
        bar: what a file has to reach.
    """

    calibrating: np.ndarray
    held_out: np.ndarray
    expected: Mapping[str, np.ndarray]
    bar: Bar

    def save(self, path: Path) -> None:
        """Write them for a child process."""
        bar = np.array([np.nan if x is None else x for x in dataclasses.astuple(self.bar)])
        outputs: dict[str, Any] = {f"out.{name}": value for name, value in self.expected.items()}
        np.savez(path, calibrating=self.calibrating, held_out=self.held_out, bar=bar, **outputs)

    @classmethod
    def load(cls, path: Path) -> "Samples":
        """The inverse of `save`."""
        with np.load(path) as arrays:
            values = {name: arrays[name] for name in arrays}
        mean, low, share = (float(value) for value in values.pop("bar"))
        calibrating, held_out = values.pop("calibrating"), values.pop("held_out")
        expected = {name.removeprefix("out."): value for name, value in values.items()}
        bar = Bar(mean, low, None if np.isnan(share) else share)
        return cls(calibrating, held_out, expected, bar)


@dataclass(frozen=True)
class Climb:
    """What came of it.

    Attributes:
        groups: what was left in float32, in words.
        tried: the agreement on every rung that was tried, in order.
        chosen: which of them was taken.
    """

    groups: tuple[str, ...]
    tried: tuple[Agreement, ...]
    chosen: int

    @property
    def note(self) -> str:
        """It in one line."""
        taken = self.tried[self.chosen]
        if not self.groups:
            return f"static int8: nothing was left in float32; {taken}"
        return (
            f"static int8: left in float32 were {', '.join(self.groups)}; with everything in int8 the "
            f"held-out images give {self.tried[0]}, and so {taken}"
        )


def climb(
    rungs: Sequence[Rung], answer: Callable[[Rung], Mapping[str, Any]], samples: Samples
) -> Climb:
    """Try one rung after the other until one is good, and else take the best that passes the bar.

    Args:
        rungs: the first leaves nothing in float32; those that add nothing are passed over.
        answer: what a file made so answers to `samples.held_out`.

    Raises:
        ExportError: none passes.
    """
    rungs = [r for i, r in enumerate(rungs) if i == 0 or r.operators != rungs[i - 1].operators]
    good = dataclasses.replace(
        samples.bar, cosine_mean=_GOOD_COSINES[0], cosine_min=_GOOD_COSINES[1]
    )
    tried: list[Agreement] = []
    for rung in rungs:
        tried.append(_worst(samples.expected, answer(rung)))
        if not shortfalls(tried[-1], good):
            break
    passing = [i for i, found in enumerate(tried) if not shortfalls(found, samples.bar)]
    best = max(passing or range(len(tried)), key=lambda i: _rank(tried[i]))
    groups = tuple(rung.group for rung in rungs[1 : best + 1])
    if not passing:
        left = f", with {', '.join(groups)} left in float32" if groups else ""
        raise ExportError(
            f"static int8 gives {tried[best]} at best{left}, and {_wanted(samples.bar)} is asked for; "
            'use precision="int8-dynamic", more calibration images or a lower target_agreement'
        )
    return Climb(groups, tuple(tried), best)


def _worst(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> Agreement:
    """Of the outputs that are floats, the one that agrees least."""
    found = [
        agree(want, actual[name])
        for name, want in expected.items()
        if actual[name].dtype.kind == "f"
    ]
    return min(found, key=_rank)


def _rank(found: Agreement) -> tuple[float, float]:
    return (found.top1_agreement if found.top1_agreement is not None else 0.0, found.cosine_mean)


def _wanted(bar: Bar) -> str:
    if bar.top1_agreement is None:
        return f"a mean cosine of {bar.cosine_mean}"
    return f"an agreement of {100 * bar.top1_agreement:g} %"
