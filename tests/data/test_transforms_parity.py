"""The evaluation transform against timm's own, on real photographs: every pixel equal."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from keras_vit.config import Preprocessing
from keras_vit.data import eval_image, normalize

pytestmark = pytest.mark.parity

PICTURES = ("astronaut.png", "camera.png", "chelsea.png", "color.png", "rocket.jpg", "page.png")
CASES = list(
    itertools.product(
        [(224, 224), (96, 96), (64, 112), (112, 64), (640, 600)],
        ["bicubic", "bilinear"],
        [0.875, 0.9, 1.0],
        ["center", "squash"],
    )
)

# A child process: torchvision must not be imported after TensorFlow.
REFERENCE = """
import json, sys
import numpy as np
from PIL import Image
from timm.data import create_transform
pictures, cases, out = json.loads(sys.argv[1])
arrays = {}
for i, (size, interpolation, crop_pct, crop_mode) in enumerate(cases):
    common = dict(input_size=(3, *size), interpolation=interpolation, crop_pct=crop_pct,
                  crop_mode=crop_mode, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for j, picture in enumerate(pictures):
        image = Image.open(picture).convert("RGB")
        pixels = create_transform(**common, normalize=False)(image)
        arrays[f"{i}_{j}"] = pixels.numpy().transpose(1, 2, 0)
        if i == 0:
            floats = create_transform(**common)(image)
            arrays[f"float_{j}"] = floats.numpy().transpose(1, 2, 0)
np.savez(out, **arrays)
"""


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    folder = Path(skimage.data.__file__).parent
    return [folder / name for name in PICTURES]


@pytest.fixture(scope="module")
def reference(pictures, tmp_path_factory):
    import json

    out = tmp_path_factory.mktemp("timm") / "reference.npz"
    arguments = json.dumps([[str(p) for p in pictures], CASES, str(out)])
    subprocess.run([sys.executable, "-c", REFERENCE, arguments], check=True)
    return np.load(out)


@pytest.mark.parametrize("index", range(len(CASES)), ids=["-".join(map(str, c)) for c in CASES])
def test_pixels_equal_timms(reference, pictures, index):
    size, interpolation, crop_pct, crop_mode = CASES[index]
    preprocessing = Preprocessing(
        size, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode
    )
    for j, picture in enumerate(pictures):
        expected = reference[f"{index}_{j}"]
        np.testing.assert_array_equal(eval_image(picture, preprocessing), expected, picture.name)


def test_normalised_floats_equal_timms(reference, pictures):
    size, interpolation, crop_pct, crop_mode = CASES[0]
    preprocessing = Preprocessing(
        size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation, crop_pct, crop_mode
    )
    for j, picture in enumerate(pictures):
        ours = normalize(eval_image(picture, preprocessing), preprocessing)
        np.testing.assert_allclose(ours, reference[f"float_{j}"], rtol=0, atol=1e-6)
