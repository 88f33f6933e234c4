"""From a name to a verified file on a phone, on real images: the six steps of README, in one process.

Usage: python tools/quickstart.py FOLDER. What is in FOLDER is replaced.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

import keras_vit
from keras_vit.cli.output import file_size, print_table
from keras_vit.data import load

MODEL = "vit_tiny_patch16_224"
FORMATS = {"savedmodel": "digits_savedmodel", "tflite": "digits.tflite", "onnx": "digits.onnx"}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trained = folder / "digits.keras"

    say("1", f"load {MODEL}, 4 blocks at 32 pixels, and fine-tune it on scikit-learn's digits")
    training = keras_vit.train(
        MODEL,
        "digits",
        trained,
        weights=None,
        image_size=32,
        overrides={"depth": 4},
        overwrite=True,
        progress=lambda e: say("", f"epoch {e.number:2}/{e.total}: accuracy {e.val_accuracy:.2%}"),
    )
    say("", f"trained in {training.seconds:.0f} s on {training.train_count} images")

    evaluation = keras_vit.evaluate(trained, "digits")
    say("2", f"evaluate: {evaluation.top1:.2%} of {evaluation.count} validation images are right")

    digits = load("digits", "validation")
    picture = folder / "digit.png"
    Image.fromarray(digits.images[0]).save(picture)
    ((label, probability), *_) = keras_vit.predict(trained, [picture])[0]
    truth = digits.class_names[digits.labels[0]]
    say("3", f"predict {picture}: {label!r} with {probability:.1%}; it is {truth!r}")

    say("4-6", "export, reopen and verify")
    model, rows = keras_vit.load(trained), []
    for format, name in FORMATS.items():
        path = folder / name
        report = keras_vit.export_model(
            model, path, format, preprocessing="normalize", overwrite=True
        )
        accuracy = keras_vit.evaluate(path, "digits").top1
        rows.append(
            (
                format,
                str(path),
                file_size(report.size),
                f"{report.max_difference:.1e}",
                f"{report.top1_agreement:.1%}",
                f"{accuracy:.2%}",
            )
        )
    print()
    header = ("format", "file", "size", "max difference", "top-1 agreement", "accuracy of the file")
    print_table(header, rows, right="size")
    if evaluation.top1 < 0.95:
        sys.exit(f"error: the accuracy is {evaluation.top1:.2%}, and should be 95 % or more")


def say(step: str, text: str) -> None:
    print(f"{step:4}{text}", flush=True)


if __name__ == "__main__":
    start = time.perf_counter()
    main(Path(sys.argv[1]))
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Next: keras-vit --help, and README.md.")
