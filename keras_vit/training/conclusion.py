"""What follows the last step of a run: the saved model, what it answers, and the report page."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.dataset import Dataset
from keras_vit.data.transforms import eval_batch
from keras_vit.training.answers import Answers, Sample, chosen, counted
from keras_vit.training.report_page import Page, report_page
from keras_vit.training.run import History, Work
from keras_vit.training.scoring import measures, probabilities

_SAMPLES = 16  # of right, and of wrong answers


def page(
    model: keras.Model,
    dataset: Dataset,
    preprocessing: Preprocessing,
    work: Work,
    history: History,
    description: Mapping[str, Any],
) -> str:
    """The report page of a finished run, as HTML.

    Args:
        model: with the weights that are saved.
        dataset: the validation images. preprocessing: of the model.
        work, history: what the run did and measured.
        description: what `run.json` says of it.
    """
    batches = work.held_out if work.whole is None else work.whole
    logits = np.asarray(model.predict(batches, verbose=0), np.float32)
    top1, top5, loss = measures(logits, dataset.labels)
    configuration = description["configuration"]
    last, best = history.epochs[-1], history.best
    images = configuration["data"]["train_images"] * len(history.epochs)
    tiles = {
        "accuracy": f"{top1:.2%}",
        "top-5": None if top5 is None else f"{top5:.2%}",
        "cross-entropy": f"{loss:.4f}",
        f"best, epoch {best['epoch']}": f"{best['accuracy']:.2%}",
        "epochs": str(last["epoch"]),
        "training and validation": _duration(history.seconds),
        "training images a second": f"{images / max(history.seconds, 1e-9):.0f}",
    }
    return report_page(
        Page(
            title=f"{configuration['model']['name']} on {description['source']}",
            subtitle=f"{len(dataset.class_names)} classes, {configuration['data']['train_images']:,} "
            f"training and {len(dataset):,} validation images; all figures are of the validation "
            "images",
            tiles={name: value for name, value in tiles.items() if value is not None},
            epochs=history.epochs,
            steps=history.points,
            steps_per_epoch=work.steps,
            answers=_answers(logits, dataset, preprocessing),
            tables={
                "Configuration": _without_lists(configuration),
                "Computed with": description["environment"],
            },
        )
    )


def _answers(logits: np.ndarray, dataset: Dataset, preprocessing: Preprocessing) -> Answers:
    names, found = dataset.class_names, logits.argmax(axis=1)
    sure = probabilities(logits)

    def samples(indices: np.ndarray) -> tuple[Sample, ...]:
        if not len(indices):
            return ()
        images = eval_batch(dataset.take(indices).images, preprocessing)
        return tuple(
            Sample(image, names[dataset.labels[i]], names[found[i]], float(sure[i, found[i]]))
            for image, i in zip(images, indices, strict=True)
        )

    right, wrong = (samples(part) for part in chosen(logits, dataset.labels, _SAMPLES))
    return Answers(names, counted(found, dataset.labels, len(names)), right, wrong)


def _without_lists(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the names of the classes, which may be a thousand."""
    data = {k: v for k, v in configuration["data"].items() if k != "classes"}
    return {**configuration, "data": data}


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def provenance(description: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved model says of its training, plain JSON data.

    Args:
        description: what `run.json` says. row: what was measured in the epoch that its weights are of.
    """
    configuration = description["configuration"]
    return {
        **_without_lists(configuration),
        "source": description["source"],
        "versions": description["environment"]["versions"],
        "measured": {name: row[name] for name in row if name == "epoch" or name.startswith("val_")},
    }
