"""Prove that an artifact computes what its model does.

The model's answers come from the model itself, on the backend at hand, to images that Pillow and NumPy
prepared: nothing that is under test takes part in what it is compared with.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_vit.errors import ExportError
from keras_vit.export.cases import Case, encoded_images, images_of_sizes
from keras_vit.export.images import as_seen, feed, source_images
from keras_vit.export.lowering import images_for_model, judging_images
from keras_vit.export.outputs import expected_outputs
from keras_vit.export.planning import Plan
from keras_vit.export.sidecar import SIGNATURE
from keras_vit.export.verify import Finding, examine_in_child


def prove(plan: Plan, artifact: Path, folder: Path, weight_bytes: int) -> Finding:
    """Reopen an artifact that a plan led to, and compare it with the model.

    Args:
        artifact: the file or folder. folder: for the files of the hand-over.
        weight_bytes: how much it has to hold.

    Raises:
        ExportError: what is wrong with it.
    """
    is_lower = plan.precision.is_lower
    raw = judging_images(plan) if is_lower else source_images(*plan.tested)
    expected = _expected(plan, raw)
    finding = examine_in_child(
        artifact,
        plan.format,
        folder,
        images=feed(raw, plan.images.dtype, plan.mode, plan.preprocessing),
        expected=expected,
        inputs=[plan.input],
        outputs=plan.gives,
        weight_bytes=weight_bytes,
        cases=list(_cases(plan)),
        bar=plan.precision.bar,
    )
    if finding.problems:
        error = ExportError(f"{plan.path.name} is wrong and was not written: {finding.problems[0]}")
        for problem in finding.problems[1:]:
            error.add_note(problem)
        raise error
    return finding


def _expected(plan: Plan, raw: np.ndarray) -> dict[str, np.ndarray]:
    """What the model answers; a layer of the user's own is all that is not computed otherwise here."""
    if plan.mode == "layer":
        return expected_outputs(
            plan.model, plan.own, plan.wanted, raw.astype(plan.images.dtype), plan.front
        )
    # Resized by Pillow and normalised by NumPy, not by the layer in the artifact: that is under test.
    images = images_for_model(plan, raw)
    return expected_outputs(plan.model, plan.own, plan.wanted, images)


def _cases(plan: Plan) -> Iterator[Case]:
    """Images of other sizes, where any are taken, and the endpoints."""
    any_size = None in plan.images.shape[1:]
    if any_size or "images" in plan.endpoints:
        for raw in images_of_sizes(plan.seen, plan.tested[2], plan.batch):
            what = f"images of {raw.shape[1]} x {raw.shape[2]}"
            if any_size:
                fed = feed(raw, plan.images.dtype, plan.mode, plan.preprocessing)
                yield Case(SIGNATURE, what, fed, _expected(plan, raw))
            if "images" in plan.endpoints:
                seen = as_seen(raw, "baked", plan.preprocessing)
                yield Case("images", what, raw, _answers(plan, seen))
    if "bytes" in plan.endpoints and plan.preprocessing:
        files, seen = encoded_images(plan.preprocessing, plan.batch)
        yield Case("bytes", "PNG and JPEG files", files, _answers(plan, seen))


def _answers(plan: Plan, seen: np.ndarray) -> dict[str, np.ndarray]:
    """What the model answers to images of 0..255 in the size that it sees."""
    images = feed(seen, plan.model.inputs[0].dtype, "none", plan.preprocessing)
    return expected_outputs(plan.model, plan.own, plan.wanted, images)
