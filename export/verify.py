"""Reopen an artifact in its own runtime, run it, and say what is wrong with it.

`examine_in_child` does it in a fresh process, where a native abort is an error message, TensorFlow
has no Keras to lean on, and nothing of the export is left in memory.
"""

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.errors import ExportError
from keras_vit.export.agreement import Bar, agree, shortfalls
from keras_vit.export.artifact import Artifact, open_artifact
from keras_vit.export.cases import Case, restored, stored
from keras_vit.export.child import first_line, run_child, serve
from keras_vit.export.images import feed, raw_images
from keras_vit.export.precision import bar_of
from keras_vit.export.ranking import ranking_problems
from keras_vit.export.report import Comparison, Tensor
from keras_vit.export.sidecar import size_of
from keras_vit.export.structure import examine

TOLERANCE = 1e-4
"""The largest difference to the model that passes, in standard deviations of the output."""

DYNAMIC_BATCHES = (1, 2, 7)
"""The batch sizes at which a file with a free batch is run: alone, even, odd."""

_SIZE_LOW, _SIZE_HIGH = 0.95, 1.10  # of the weights' bytes
_GRAPH_BYTES = 6_000_000  # what graph and metadata of a deep model may add


@dataclass(frozen=True)
class Finding:
    """What running an artifact showed.

    Attributes:
        operators: how often each occurs.
        inputs, outputs: its interface.
        embedded: the metadata inside it, or None.
        comparison: with the expected outputs, or None.
        batches: the batch sizes at which it ran.
        problems: what is wrong, one line each.
        notes: what could not be seen, one line each.
    """

    operators: Mapping[str, int]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    embedded: Mapping[str, Any] | None
    comparison: Comparison | None
    batches: tuple[int, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Finding":
        """From the child's JSON."""
        comparison = data["comparison"]
        return cls(
            operators=data["operators"],
            inputs=tuple(Tensor.from_dict(value) for value in data["inputs"]),
            outputs=tuple(Tensor.from_dict(value) for value in data["outputs"]),
            embedded=data["embedded"],
            comparison=Comparison.from_dict(comparison) if comparison else None,
            batches=tuple(data["batches"]),
            problems=tuple(data["problems"]),
            notes=tuple(data["notes"]),
        )


def examine_in_child(
    path: Path,
    format: str,
    folder: Path,
    *,
    images: np.ndarray | None = None,
    expected: Mapping[str, np.ndarray] | None = None,
    inputs: Sequence[Tensor] | None = None,
    outputs: Sequence[Tensor] | None = None,
    weight_bytes: int | None = None,
    tolerance: float = TOLERANCE,
    bar: Bar | None = None,
    cases: Sequence[Case] = (),
) -> Finding:
    """Examine an artifact in a fresh process; what is None is not compared.

    Args:
        path, format: of the artifact.
        folder: for the files of the hand-over.
        images: at least 7, in its own element type and size; None makes them as its metadata say.
        expected: outputs by name, one row an image.
        inputs, outputs: the interface that it has to have.
        weight_bytes: how much it has to hold.
        tolerance: see `TOLERANCE`.
        bar: what a file in a lower precision than float32 has to reach instead; None takes the precision
            from its metadata.
        cases: further batches, of any endpoint.

    Raises:
        ExportError: it cannot be opened, or the runtime died.
    """
    arrays = folder / "verify.npz"
    given: dict[str, Any] = {f"out.{name}": value for name, value in (expected or {}).items()}
    more, described = stored(cases)
    given |= more if images is None else {**more, "images": images}
    np.savez(arrays, **given)
    request = {
        "path": str(path),
        "format": format,
        "arrays": str(arrays),
        "inputs": None if inputs is None else [value.to_dict() for value in inputs],
        "outputs": None if outputs is None else [value.to_dict() for value in outputs],
        "weight_bytes": weight_bytes,
        "tolerance": tolerance,
        "bar": bar and dataclasses.asdict(bar),
        "cases": described,
    }
    return Finding.from_dict(run_child("keras_vit.export.verify", request, folder))


def main(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `examine_in_child`."""
    path, format = Path(request["path"]), request["format"]
    if format == "savedmodel":
        # Whoever serves the folder may not have Keras: importing it is an error from here on.
        sys.modules["keras"] = None  # type: ignore[assignment]
    with np.load(request["arrays"]) as arrays:
        images = arrays.get("images")
        expected = {k.removeprefix("out."): arrays[k] for k in arrays if k.startswith("out.")}
        cases = restored(arrays, request["cases"])
    operators, problems = examine(path, format)
    if request["weight_bytes"] is not None:
        problems += _size_problems(size_of(path), request["weight_bytes"])
    try:
        artifact = open_artifact(path)
    except ExportError as error:
        # What the structure shows says more than the runtime's refusal: it comes first.
        return {**_UNOPENED, "operators": operators, "problems": [*problems, str(error)]}
    for kind in ("inputs", "outputs"):
        if request[kind] is not None:
            wanted = tuple(Tensor.from_dict(value) for value in request[kind])
            problems += _interface_problems(kind, getattr(artifact, kind), wanted)
    if images is None:
        images = test_images(artifact)
    # A file that is checked later says itself how exactly it computes.
    bar = Bar(**request["bar"]) if request["bar"] else bar_of(artifact.metadata.get("precision"))
    comparison, batches, more = run_and_compare(
        artifact,
        images,
        expected or None,
        request["tolerance"],
        bar,
    )
    for case in cases:
        more += _case_problems(artifact, case, _scales(expected), request["tolerance"], bar)
    return {
        "operators": operators,
        "inputs": [value.to_dict() for value in artifact.inputs],
        "outputs": [value.to_dict() for value in artifact.outputs],
        "embedded": artifact.embedded,
        "comparison": comparison and dataclasses.asdict(comparison),
        "batches": batches,
        "problems": problems + more,
        "notes": _blind_spots(expected),
    }


_UNOPENED: Mapping[str, Any] = {
    "inputs": [],
    "outputs": [],
    "embedded": None,
    "comparison": None,
    "batches": [],
    "notes": [],
}


def test_images(artifact: Artifact) -> np.ndarray:
    """Structured images as an artifact takes them.

    Raises:
        UsageError: it does not take images.
    """
    values, wanted = artifact.preprocessing, artifact.images
    return feed(raw_images(wanted, values), wanted.dtype, artifact.preprocessing_mode, values)


def run_and_compare(
    artifact: Artifact,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray] | None,
    tolerance: float,
    bar: Bar | None = None,
) -> tuple[Comparison | None, list[int], list[str]]:
    """Run an artifact at several batch sizes against `expected`, or without it against itself.

    Returns:
        the comparison (None without `expected`), the batch sizes that ran, the problems.
    """
    comparison, ran, problems = None, [], []
    reference = expected
    for size, batch in _batches(images, artifact.batch):
        try:
            outputs = _run(artifact, batch, size)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            problems.append(f"it does not run at batch {size}: {reason[:200]}")
            continue
        ran.append(size)
        problems += [
            f"{name} is not finite at batch {size}"
            for name, value in outputs.items()
            if not np.isfinite(value).all()
        ]
        if reference is None:
            reference = outputs
            continue
        rows = {name: value[: len(batch)] for name, value in reference.items()}
        against = "itself at batch 1" if expected is None else "the model"
        if bar is None:
            result, more = compare(rows, outputs, _scales(reference), tolerance, against)
        else:
            result, more = compare_loosely(rows, outputs, bar if ran == [size] else bar.of_few)
        problems += [f"{problem} at batch {size}" for problem in more]
        if expected is not None:
            comparison = result if comparison is None else _worse(comparison, result)
    return comparison, ran, problems


def _case_problems(
    artifact: Artifact,
    case: Case,
    scales: Mapping[str, float],
    tolerance: float,
    bar: Bar | None,
) -> list[str]:
    """What is wrong with the answers to one more batch."""
    where = f"for {case.what} ({case.signature})"
    try:
        outputs = artifact.call(case.signature, case.inputs)
    except Exception as error:
        return [f"it does not run {where}: {first_line(error)[:200]}"]
    if bar is None:
        _, problems = compare(case.expected, outputs, scales, tolerance)
    else:
        _, problems = compare_loosely(case.expected, outputs, bar.of_few)
    return [f"{problem} {where}" for problem in problems]


def _batches(images: np.ndarray, fixed: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """(batch size, images to run): all of them first, then one batch of every other size."""
    if fixed is not None:
        yield fixed, images
        return
    first, *others = DYNAMIC_BATCHES
    yield first, images
    for size in others:
        yield size, images[:size]


def _run(artifact: Artifact, images: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Every output for the images, exactly `size` at a time."""
    if artifact.batch is not None:
        return artifact.run(images)
    parts = [artifact.run_batch(images[i : i + size]) for i in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    scales: Mapping[str, float],
    tolerance: float,
    against: str = "the model",
) -> tuple[Comparison, list[str]]:
    """Compare outputs by name; `scales` are the standard deviations to measure them by."""
    problems = []
    largest = relative = 0.0
    agreement = None
    for name, want in expected.items():
        have = actual.get(name)
        if have is None or (have.shape != want.shape and have.dtype.kind != "i"):
            shape = None if have is None else have.shape
            problems.append(f"{name} should have shape {want.shape} and has {shape}")
            relative = math.inf
            continue
        if have.dtype.kind == "i":
            problems += ranking_problems(name, have, want, tolerance * scales[name])
            continue
        difference = float(np.max(np.abs(have.astype(np.float64) - want)))
        difference = math.inf if math.isnan(difference) else difference
        share = difference / scales[name] if scales[name] else (math.inf if difference else 0.0)
        largest, relative = max(largest, difference), max(relative, share)
        if share > tolerance:
            problems.append(
                f"{name} differs from {against} by {difference:.2e}, {share:.1e} of its standard "
                f"deviation where {tolerance:.0e} is allowed,"
            )
        if name == "logits" and want.ndim == 2 and want.shape[1] > 1:
            agreement, wrong = _top1(want, have, 2 * tolerance * scales[name])
            if wrong:
                problems.append(f"the top-1 of {wrong} of {len(want)} images differs")
    images = len(next(iter(expected.values())))
    return Comparison(images, largest, relative, agreement, tolerance), problems


def compare_loosely(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], bar: Bar
) -> tuple[Comparison, list[str]]:
    """Compare outputs of a lower precision by name; the comparison is of the first that is not a rank."""
    problems, found = [], []
    largest = relative = 0.0
    for name, want in expected.items():
        have = actual.get(name)
        if have is None or (have.shape != want.shape and have.dtype.kind != "i"):
            shape = None if have is None else have.shape
            problems.append(f"{name} should have shape {want.shape} and has {shape}")
            continue
        if have.dtype.kind == "i":
            continue  # classes in the order of probabilities that are compared
        found.append(agree(want, have))
        problems += shortfalls(found[-1], bar, name)
        difference = float(np.max(np.abs(have.astype(np.float64) - want)))
        largest = max(largest, difference)
        relative = max(relative, difference / (float(want.std()) or math.inf))
    images = len(next(iter(expected.values())))
    if not found:
        return Comparison(images, math.inf, math.inf, None, None), problems
    one = found[0]
    comparison = Comparison(
        images,
        largest,
        relative,
        one.top1_agreement,
        None,
        one.cosine_mean,
        one.cosine_min,
        one.margin,
    )
    return comparison, problems


def _top1(want: np.ndarray, have: np.ndarray, margin: float) -> tuple[float, int]:
    """(share of images with the same top-1, how many differ although the margin is wider)."""
    same = want.argmax(1) == have.argmax(1)
    two = np.sort(want, axis=1)[:, -2:]
    decided = two[:, 1] - two[:, 0] > margin
    return float(same.mean()), int((decided & ~same).sum())


def _scales(outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value.astype(np.float64).std()) for name, value in outputs.items()}


def _worse(one: Comparison, other: Comparison) -> Comparison:
    """The larger differences of two comparisons, and the agreement over the more images."""
    more = max(one, other, key=lambda comparison: comparison.images)
    return dataclasses.replace(
        more,
        max_difference=max(one.max_difference, other.max_difference),
        relative_difference=max(one.relative_difference, other.relative_difference),
    )


def _blind_spots(expected: Mapping[str, np.ndarray]) -> list[str]:
    """Outputs that say nothing about what comes before them: those of a head that is still zero."""
    return [
        f"{name} is the same for every image, so that only the head was compared"
        for name, value in expected.items()
        if np.ptp(value, axis=0).max() <= 1e-6 * max(1.0, float(np.abs(value).max()))
    ]


def _size_problems(size: int, weight_bytes: int) -> list[str]:
    """Too small is a file without weights, too large one with weights twice."""
    if size < _SIZE_LOW * weight_bytes:
        return [f"it has {size:,} bytes and the weights alone have {weight_bytes:,}"]
    if size > _SIZE_HIGH * weight_bytes + _GRAPH_BYTES:
        return [f"it has {size:,} bytes for {weight_bytes:,} bytes of weights"]
    return []


def _interface_problems(kind: str, actual: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[str]:
    """The tensors have to be the same in any order: signatures sort theirs by name."""
    if {str(value) for value in actual} == {str(value) for value in wanted}:
        return []
    have, want = ("; ".join(map(str, values)) for values in (actual, wanted))
    return [f"its {kind} should be {want} and are {have}"]


if __name__ == "__main__":
    serve(main)
