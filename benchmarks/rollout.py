"""Attention rollout of one image by ViT-B/16 at 384 pixels: seconds and memory beyond the loaded model.

Usage: python benchmarks/rollout.py. Linux alone: it reads /proc.
"""

import os
import re
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_vit
from keras_vit import explain

_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def megabytes(field: str) -> float:
    """`VmRSS`, memory in use, or `VmHWM`, the most since it was last reset."""
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    model = keras_vit.load("vit_base_patch16_384", weights=None)
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
    images = np.asarray(model.preprocess(image))
    before = megabytes("VmRSS")
    _REFERENCES.write_text("5")  # VmHWM begins anew
    start = time.perf_counter()
    found = explain.attention_rollout(model, images)
    seconds = time.perf_counter() - start
    print(f"{found.shape}: {seconds:.2f} s, {megabytes('VmHWM') - before:.0f} MB above the model")


if __name__ == "__main__":
    main()
