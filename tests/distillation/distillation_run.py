"""A distilled DeiT trained under an ONNX teacher by `train`, on the backend of the environment.

Usage: python distillation_run.py TEACHER FOLDER
"""

import sys

import numpy as np
from distillation_cases import DISTILLED

import keras_vit
from keras_vit.data import load


def main(teacher: str, folder: str) -> None:
    few = load("digits").take(np.arange(96))
    report = keras_vit.train(
        "deit_tiny_distilled_patch16_224",
        few,
        folder,
        weights=None,
        image_size=16,
        overrides=DISTILLED,
        epochs=3,
        shift=0.1,
        validation=few,
        teacher=teacher,
        distillation="soft",
        alpha=0.7,
        temperature=2.0,
    )
    measured = keras_vit.evaluate(f"{folder}/model.keras", few)
    assert abs(measured.top1 - report.accuracy) < 1e-6, (measured, report)
    losses = [epoch.loss for epoch in report.epochs]
    assert losses == sorted(losses, reverse=True), losses


if __name__ == "__main__":
    main(*sys.argv[1:])
