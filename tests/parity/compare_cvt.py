"""Loads what reference_cvt.py wrote into keras_vit and prints, as JSON, how far the outputs are.

`python compare_cvt.py FOLDER REQUESTS`, in a process of its own: KERAS_BACKEND chooses the backend, and
transformers is not there. Differences are the largest one over the standard deviation of the reference.
Writes FOLDER/ID.again.safetensors with Hugging Face's names, after a detour over microsoft's.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_vit


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / theirs.std())


def compare(folder: Path, request: dict) -> dict:
    expected = np.load(folder / f"{request['id']}.npz")
    file = folder / f"{request['id']}.safetensors"
    model = keras_vit.load("cvt_13_224", weights=file, **request["arguments"])
    last = len(model.config.arguments["depth"]) - 1
    ends = [depth - 1 for depth in model.config.arguments["depth"]]
    outputs = [model.get_layer(f"stages_{s}_blocks_{end}").output for s, end in enumerate(ends)]
    if model.config.arguments["class_token"]:
        outputs[last] = outputs[last][0]
    logits, *maps = keras.Model(model.input, [model.output, *outputs]).predict_on_batch(
        expected["images"]
    )
    return {
        "layout": model.load_report.layout,
        "logits": distance(logits, expected["logits"]),
        "stages": [distance(x, expected[f"stage{s}"]) for s, x in enumerate(maps)],
        "shapes": [list(x.shape) for x in maps],
        "bit_equal": writes_back(model, file, request),
    }


def writes_back(model: keras.Model, file: Path, request: dict) -> bool:
    """Whether the weights survive microsoft's names and come back as the file that was loaded."""
    from safetensors.numpy import load_file

    official = file.with_suffix(".official.safetensors")
    again = file.with_suffix(".again.safetensors")
    keras_vit.save_weights(model, official, layout="official", overwrite=True)
    detour = keras_vit.load("cvt_13_224", weights=official, **request["arguments"])
    keras_vit.save_weights(detour, again, layout="huggingface", overwrite=True)
    before, after = load_file(file), load_file(again)
    return before.keys() == after.keys() and all(
        before[name].dtype == after[name].dtype
        and before[name].shape == after[name].shape
        and before[name].tobytes() == after[name].tobytes()
        for name in before
    )


if __name__ == "__main__":
    requests = json.loads(sys.argv[2])
    print(json.dumps({request["id"]: compare(Path(sys.argv[1]), request) for request in requests}))
