"""The figures there are, and whether they can be written: asked before Keras is imported."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_vit.errors import UsageError, require
from keras_vit.export.staging import staging
from keras_vit.outputs import require_new_folder

PAGE = "report.html"


@dataclass(frozen=True)
class Kind:
    """A figure.

    Attributes:
        title: of it. text: what it shows and how it is read. source: where it was first shown.
    """

    title: str
    text: str
    source: str


KINDS: Mapping[str, Kind] = {
    "rollout": Kind(
        "Attention rollout",
        "Which patches the answer comes from, if attention were all there is: the mean over heads, and the "
        "residual branch, multiplied through all blocks. Colours go from the smallest to the largest value "
        "of each image.",
        "arXiv:2005.00928; figure 6 of arXiv:2010.11929",
    ),
    "gradient-rollout": Kind(
        "Gradient-weighted rollout",
        "Which patches speak for a class: a rollout of attention times the gradient of the class's logit.",
        "arXiv:2103.15679",
    ),
    "gradcam": Kind(
        "Grad-CAM",
        "Where a map inside the model speaks for a class: its channels, weighted with the mean gradient of "
        "the class's logit.",
        "arXiv:1610.02391",
    ),
    "attention": Kind(
        "Attention maps",
        "What each head of each block looks at. Every map has its own scale, from 0 to its largest value.",
        "arXiv:2010.11929",
    ),
    "distance": Kind(
        "Mean attention distance",
        "How far heads look: the distance between two patches, weighted with the attention, and the mean "
        "over patches and images. Heads that look far from the first block on have global attention; low "
        "ones work like small convolutions.",
        "figure 7, right, and appendix D.7 of arXiv:2010.11929",
    ),
    "position": Kind(
        "Position embeddings",
        "The small picture at a row and a column is the cosine similarity of that patch's position "
        "embedding to those of all patches. Trained models know rows, columns and neighbours.",
        "figure 7, centre, of arXiv:2010.11929",
    ),
    "filters": Kind(
        "Filters of the first layer",
        "The principal components of the first layer's filters, and the share of the filters' variance "
        "that each explains.",
        "figure 7, left, of arXiv:2010.11929",
    ),
    "pca": Kind(
        "Principal components of the tokens",
        "What patches have in common, in all images: patches of like colours have like tokens.",
        "figure 1 of arXiv:2304.07193",
    ),
    "similarity": Kind(
        "Similarity of layers",
        "How alike what two models make of the same images is, layer by layer: linear centred kernel "
        "alignment of all tokens.",
        "arXiv:1905.00414, arXiv:2108.08810",
    ),
}
"""In the order of the page."""

_OURS = re.compile(rf"({'|'.join(KINDS)})(_\d+)?\.(png|svg)")


def require_kinds(what: Iterable[str] | None, compare: bool) -> tuple[str, ...]:
    """The figures that are meant: those named; else the similarity of two models, or all of one.

    Raises:
        UsageError: for another name.
    """
    if what is None:
        return ("similarity",) if compare else tuple(k for k in KINDS if k != "similarity")
    wanted = tuple(dict.fromkeys([what] if isinstance(what, str) else what))
    unknown = [name for name in wanted if name not in KINDS]
    if unknown or not wanted:
        raise UsageError(f"no figure {', '.join(unknown) or 'asked for'}: {', '.join(KINDS)}")
    if compare and "similarity" not in wanted:
        raise UsageError("compare is for the figure similarity")
    return wanted


def require_place(out: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be written, and one that holds something without `overwrite`.

    Raises:
        UsageError: for these. MissingPackageError: without matplotlib.
    """
    require("matplotlib", "explain")
    require_new_folder(out)
    if not out.exists():
        return
    if any(out.iterdir()) and not overwrite:
        raise UsageError(f"{out} exists; pass overwrite=True to replace its figures")
    with staging(out / PAGE):
        """Proves that it can be written."""


def ours(out: Path) -> list[Path]:
    """What an earlier report has left in the folder."""
    if not out.is_dir():
        return []
    return [path for path in out.iterdir() if path.name == PAGE or _OURS.fullmatch(path.name)]
