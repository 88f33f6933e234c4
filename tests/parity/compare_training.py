"""Trains in keras_vit as reference_training.py did, and prints the losses of every step as JSON.

`python compare_training.py FOLDER REQUEST STEPS`, in a process of its own: KERAS_BACKEND chooses the backend.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_vit
from keras_vit.training.optimizers import grouped


def losses(folder: Path, request: dict, steps: int) -> list[float]:
    given = np.load(folder / f"{request['id']}.npz")
    file = folder / f"{request['id']}.safetensors"
    model = keras_vit.load(request["name"], weights=file, **request["arguments"])
    adamw = keras.optimizers.AdamW(
        request["rate"], weight_decay=request["decay"], epsilon=request["epsilon"]
    )
    model.compile(
        grouped(model, adamw), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    found = []
    for images, labels in zip(given["images"][:steps], given["labels"][:steps], strict=True):
        model.reset_metrics()  # the loss is a mean over the steps since
        found.append(float(model.train_on_batch(images, labels)))
    return found


if __name__ == "__main__":
    print(json.dumps(losses(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))))
