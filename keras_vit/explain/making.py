"""From a model and images to figures that can be drawn: each kind's arrays, computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.explain.attention import attention_maps
from keras_vit.explain.distance import attention_distance
from keras_vit.explain.filters import filter_components, first_filters
from keras_vit.explain.gradcam import grad_cam
from keras_vit.explain.pictures import (
    draw_attention,
    draw_components,
    draw_grad_cam,
    draw_gradient_rollout,
    draw_rollout,
)
from keras_vit.explain.places import Query
from keras_vit.explain.plots import draw_distance, draw_filters, draw_position, draw_similarity
from keras_vit.explain.position import position_similarity
from keras_vit.explain.rollout import attention_rollout, gradient_rollout
from keras_vit.explain.similarity import layer_similarity
from keras_vit.explain.sources import traced
from keras_vit.explain.subjects import Subject
from keras_vit.explain.tokens import token_components
from keras_vit.explain.tracing import Trace, asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PICTURES = 8
"""Images that are shown; distances and similarities are of all."""

_FILTERS = 28  # as the paper has them


@dataclass(frozen=True)
class Drawing:
    """A figure that is ready to be drawn.

    Attributes:
        what: its kind. title: what stands on it. draw: of a theme.
        number: of several of a kind, from 1; else None.
        note: what the reader has to know, or empty.
    """

    what: str
    title: str
    draw: Callable[[str], "Figure"]
    number: int | None = None
    note: str = ""

    @property
    def stem(self) -> str:
        """The name of its files."""
        return self.what if self.number is None else f"{self.what}_{self.number}"


@dataclass(frozen=True)
class Task:
    """What is asked about a model.

    Attributes:
        subject: it. other: a second one, for the similarity; None compares the first with itself.
        blocks: numbers or names of attention blocks; heads: numbers. None is all.
        patch: (row, column) of the patch that looks, or None for the class token.
        class_name: a label or number, or None for each image's own prediction.
    """

    subject: Subject
    other: Subject | None = None
    blocks: Sequence[int | str] | None = None
    heads: Sequence[int] | None = None
    patch: tuple[int, int] | None = None
    class_name: int | str | None = None

    @cached_property
    def shown(self) -> Subject:
        """The images that are shown."""
        return self.subject.first(MOST_PICTURES)

    @cached_property
    def symbols(self) -> Trace:
        """Where the tokens lie."""
        return traced(self.subject.model, self.subject.images[:1])

    @cached_property
    def query(self) -> Query:
        """The token that looks: the patch, else the class token, else the mean of all patches."""
        if self.patch is not None:
            return self.patch
        last = asked(self.symbols, None)[-1]
        return "class" if "class" in self.symbols.places[last].prefix else "mean"

    @property
    def who(self) -> str:
        """The token that looks, in words."""
        match self.query:
            case "class":
                return "the class token"
            case "mean":
                return "all patches on average"
            case (row, column):
                return f"the patch in row {row}, column {column}"
        raise AssertionError(self.query)

    @cached_property
    def at(self) -> list[str] | None:
        """The names of the blocks that are meant; None is all.

        Raises:
            UsageError: for a block that is not there.
        """
        if self.blocks is None:
            return None
        names = asked(self.symbols, None)
        found = []
        for block in self.blocks:
            number = int(block) if str(block).lstrip("-").isdecimal() else None
            if number is None:
                found.append(str(block))
            elif -len(names) <= number < len(names):
                found.append(names[number])
            else:
                raise UsageError(f"no block {number}: {self.subject.name} has {len(names)}, from 0")
        return asked(self.symbols, found)

    @cached_property
    def classes(self) -> int | None:
        """The number of the class asked about."""
        return self.subject.class_index(self.class_name)

    @cached_property
    def captions(self) -> list[str]:
        """Of each image that is shown its name, and what the model says of it."""
        shares = self.shown.shares()
        if shares is None:
            return list(self.shown.file_names)
        wanted = self.classes
        if wanted is not None and not 0 <= wanted < shares.shape[1]:
            raise UsageError(f"there is no class {wanted}: they are 0 to {shares.shape[1] - 1}")
        indices = shares.argmax(-1) if wanted is None else [wanted] * len(shares)
        return [
            f"{name}: {self.subject.label(int(i))}, {share[i]:.1%}"
            for name, i, share in zip(self.shown.file_names, indices, shares, strict=True)
        ]

    @property
    def more(self) -> str:
        """That not all images are shown, if so."""
        count = len(self.subject.images)
        return f"the first {MOST_PICTURES} of {count} images" if count > MOST_PICTURES else ""


def drawings(what: str, task: Task) -> list[Drawing]:
    """The figures of a kind of `KINDS`.

    Raises:
        NoPictureError: the model cannot give it. UsageError: an argument that does not fit.
    """
    return _MAKERS[what](task)


def _rollout(task: Task) -> list[Drawing]:
    maps = attention_rollout(task.subject.model, task.shown.images, task.query)
    title = f"Attention rollout from {task.who}: {task.subject.name}"
    return [_pictures("rollout", draw_rollout, task, maps, title)]


def _gradient_rollout(task: Task) -> list[Drawing]:
    model, images = task.subject.model, task.shown.images
    maps = gradient_rollout(model, images, task.classes, task.query)
    title = f"Gradient-weighted rollout: {task.subject.name}"
    return [_pictures("gradient-rollout", draw_gradient_rollout, task, maps, title)]


def _grad_cam(task: Task) -> list[Drawing]:
    maps = grad_cam(task.subject.model, task.shown.images, task.classes)
    return [_pictures("gradcam", draw_grad_cam, task, maps, f"Grad-CAM: {task.subject.name}")]


def _pictures(
    what: str, draw: Callable[..., "Figure"], task: Task, maps: NDArray[Any], title: str
) -> Drawing:
    seen, captions = list(task.shown.seen), task.captions
    return Drawing(
        what,
        title,
        lambda theme: draw(seen, maps, captions=captions, title=title, theme=theme),
        note=task.more,
    )


def _attention(task: Task) -> list[Drawing]:
    maps = attention_maps(task.subject.model, task.shown.images, task.query, task.at)
    if task.heads is not None:
        maps = {name: _of_heads(name, each, task.heads) for name, each in maps.items()}
    title = f"Attention of {task.who}: {task.subject.name}"
    several = len(task.shown.images) > 1
    notes = [task.more, _left_out(task, list(maps))]
    mark = _mark(task, next(iter(maps)))

    def drawing(index: int) -> Drawing:
        mine = {name: each[index] for name, each in maps.items()}
        return Drawing(
            "attention",
            title,
            lambda theme: draw_attention(
                task.shown.seen[index],
                mine,
                heads=task.heads,
                at=mark,
                title=title,
                caption=task.captions[index],
                theme=theme,
            ),
            number=index + 1 if several else None,
            note="; ".join(note for note in notes if note) if index == 0 else "",
        )

    return [drawing(index) for index in range(len(task.shown.images))]


def _of_heads(name: str, maps: NDArray[Any], heads: Sequence[int]) -> NDArray[Any]:
    count = maps.shape[1]
    if missing := [head for head in heads if not 0 <= head < count]:
        raise UsageError(f"no head {missing[0]} in {name}: it has {count}, from 0")
    return maps[:, list(heads)]


def _left_out(task: Task, drawn: list[str]) -> str:
    """That some blocks have no such token, if none was asked for by name."""
    blocks = task.symbols.blocks
    if task.at is not None or len(drawn) == len(blocks):
        return ""
    return (
        f"{task.who} is in {len(drawn)} of {len(blocks)} blocks alone, {drawn[0]} to {drawn[-1]}: "
        "asking for a patch shows more"
    )


def _mark(task: Task, block: str) -> tuple[float, float] | None:
    """The pixel on which the patch lies that looks."""
    if task.patch is None:
        return None
    place = task.symbols.places[block]
    down, right = place.centres()[task.patch[0] * place.grid[1] + task.patch[1]]
    return float(down), float(right)


def _distance(task: Task) -> list[Drawing]:
    found = attention_distance(task.subject.model, task.subject.images)
    count = len(task.subject.images)
    few = f"the mean over {count} image{'s' * (count > 1)}; the paper's is over 128"
    title = f"Mean attention distance: {task.subject.name}"
    return [
        Drawing(
            "distance",
            title,
            lambda theme: draw_distance(found, title=title, theme=theme),
            note=few if count < 128 else "",
        )
    ]


def _position(task: Task) -> list[Drawing]:
    found = position_similarity(task.subject.model)  # type: ignore[arg-type]
    title = f"Similarity of position embeddings: {task.subject.name}"
    return [
        Drawing("position", title, lambda theme: draw_position(found, title=title, theme=theme))
    ]


def _filters(task: Task) -> list[Drawing]:
    model: Any = task.subject.model
    *size, number = first_filters(model).shape
    # The mean is taken off: so many filters have one component less.
    count = min(_FILTERS, max(number - 1, 1), int(np.prod(size)))
    found, shares = filter_components(model, count)
    title = f"Principal components of the first layer's filters: {task.subject.name}"
    return [
        Drawing(
            "filters", title, lambda theme: draw_filters(found, shares, title=title, theme=theme)
        )
    ]


def _pca(task: Task) -> list[Drawing]:
    model: Any = task.subject.model
    at = None if task.at is None else task.at[-1]
    found = token_components(model, task.shown.images, 3, at)
    where = "" if at is None else f" of {at}"
    title = f"Principal components of the tokens{where}: {task.subject.name}"
    seen, names = list(task.shown.seen), list(task.shown.file_names)

    def draw(theme: str) -> "Figure":
        return draw_components(seen, found, captions=names, title=title, theme=theme)

    return [Drawing("pca", title, draw, note=task.more)]


def _similarity(task: Task) -> list[Drawing]:
    first, second = task.subject, task.other or task.subject
    found = layer_similarity(
        first.model,  # type: ignore[arg-type]
        second.model,  # type: ignore[arg-type]
        first.images,
        second.images,
    )
    names = (first.name, second.name)
    count = len(first.images)
    title = f"Similarity of layers (linear CKA) on {count} images"
    return [
        Drawing(
            "similarity",
            title,
            lambda theme: draw_similarity(found, names, title=title, theme=theme),
            # Of few samples in many dimensions, all representations look alike (arXiv:1905.00414, 5).
            note=f"of {count} images, which all layers tell apart: take some hundred for figures to report"
            if count < 100
            else "",
        )
    ]


_MAKERS: dict[str, Callable[[Task], list[Drawing]]] = {
    "rollout": _rollout,
    "gradient-rollout": _gradient_rollout,
    "gradcam": _grad_cam,
    "attention": _attention,
    "distance": _distance,
    "position": _position,
    "filters": _filters,
    "pca": _pca,
    "similarity": _similarity,
}
