"""What a model card says, in words: for the command line, for pages and for Markdown. No Keras."""

from collections.abc import Sequence
from typing import Any

from keras_vit.catalogue import ModelCard, Score
from keras_vit.licences import marked


def scaled(number: float) -> str:
    """A count in three or four figures: 5717416 is `5.72M`."""
    for unit in ("", "K", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.4g}T"


def size(height_width: Sequence[int | None]) -> str:
    """`224` of a square image, `224x320` (height x width) of another."""
    height, width = height_width
    return f"{height}" if height == width else f"{height}x{width}"


def value_text(value: Any) -> str:
    """An argument as text: tuples without parentheses."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def facts(card: ModelCard, *, scores: bool = True) -> dict[str, Any]:
    """Names and values, perhaps with the published scores; None where there is nothing to say."""
    shown = card.scores if scores else ()
    return {
        "family": f"{card.family} ({card.title})",
        "also called": ", ".join(card.aliases),
        "weights": card.description if card.pretrained else "none published",
        "classes": _classes(card),
        "parameters": f"{card.parameters:,} ({scaled(card.parameters)})",
        "MACs": f"{card.macs:,} ({scaled(card.macs)})",
        **{f"accuracy {i}": score_text(score) for i, score in enumerate(shown, 1)},
        "licence": marked(card.licence),
        "file": f"hf://{card.hub_id}/{card.hub_file}" if card.hub_id else None,
        "source": card.source_url,
        "paper": card.paper,
    }


def preprocessing(card: ModelCard) -> dict[str, Any]:
    """What the checkpoint wants done to images."""
    values = card.preprocessing
    return {
        "image size": size(values.image_size),
        "resize": f"{values.interpolation}, {values.crop_mode} crop of {values.crop_pct:.4g}",
        "mean": value_text(values.mean),
        "std": value_text(values.std),
    }


def other_numerics(card: ModelCard) -> dict[str, dict[str, str]]:
    """What each numerics but the default one sets differently."""
    changed = {
        numerics: {
            name: f"{value_text(card.arguments[name])} -> {value_text(value)}"
            for name, value in values.items()
            if value != card.arguments[name]
        }
        for numerics, values in card.numerics_arguments.items()
    }
    return {numerics: values for numerics, values in changed.items() if values}


def score_text(score: Score) -> str:
    """A published accuracy, and who measured it."""
    top5 = "" if score.top5 is None else f", top-5 {score.top5:.2f} %"
    result = f"{score.dataset} at {score.image_size}: top-1 {score.top1:.2f} %{top5}"
    return f"{result}, measured by {score.measured_by} ({score.source})"


def _classes(card: ModelCard) -> str:
    if not card.num_classes:
        return "0 (features only)"
    return f"{card.num_classes}" + (f" ({card.labels})" if card.labels else "")
