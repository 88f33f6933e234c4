"""Every random change against timm and torchvision, on the same images with the same draws: bit for bit.

timm draws from Python's `random`, so that the same seed gives both the same numbers; for Mixup it draws
from `numpy.random`.
"""

import math
import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm_auto = pytest.importorskip("timm.data.auto_augment")

# torchvision, which timm brings, must be imported before TensorFlow.
import numpy as np  # noqa: E402
import timm.data  # noqa: E402
from PIL import Image  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402
from timm.data.transforms import RandomResizedCropAndInterpolation  # noqa: E402
from torchvision import transforms  # noqa: E402

from keras_vit.config import Preprocessing  # noqa: E402
from keras_vit.data import Augmentation  # noqa: E402
from keras_vit.data.color_jitter import jittered  # noqa: E402
from keras_vit.data.crops import inception_crop, reflected  # noqa: E402
from keras_vit.data.erasing import erase  # noqa: E402
from keras_vit.data.magnitudes import TIMM, TIMM_INCREASING  # noqa: E402
from keras_vit.data.mixing import mix  # noqa: E402
from keras_vit.data.operations import solarize  # noqa: E402
from keras_vit.data.randaugment import rand_augment  # noqa: E402
from keras_vit.data.three_augment import _blurred, _grey  # noqa: E402

pytestmark = pytest.mark.parity

MEAN = (0.485, 0.456, 0.406)
FILL = (124, 116, 104)
BOTH = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
MAGNITUDES = (0, 1, 4, 5.5, 9, 10)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut()).resize((97, 71))


@pytest.fixture(autouse=True)
def posterize_of_pillow_12(monkeypatch):
    """Pillow 13 refuses 0 bits, which timm asks for at the highest magnitude: it fails there."""
    monkeypatch.setattr(
        timm_auto.ImageOps,
        "posterize",
        lambda image, bits: image.point([x & ~(2 ** (8 - bits) - 1) for x in range(256)] * 3),
    )


def _same(ours: Image.Image, theirs: Image.Image) -> None:
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("name", sorted({*TIMM, *TIMM_INCREASING}))
def test_each_change_at_each_magnitude(photo, name, magnitude):
    hparams = {"img_mean": FILL}
    theirs = timm_auto.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=hparams)
    policy = rand_augment(f"rand-m{magnitude}-p1.0", MEAN, BOTH)
    row = (TIMM | TIMM_INCREASING)[name]
    for seed in range(3):
        random.seed(seed)
        _same(policy.apply(row, photo, random.Random(seed)), theirs(photo))


@pytest.mark.parametrize(
    "config",
    [
        "rand-m9-mstd0.5-inc1",
        "rand-m9-mstd0.5",
        "rand-m15-n3-mmax20-p0.8-inc1",
        "rand-m7-mstd101-inc1",
        "rand-m6-n1",
    ],
)
@pytest.mark.parametrize("interpolation", ["random", "bicubic"])
def test_whole_policies(photo, monkeypatch, config, interpolation):
    hparams: dict[str, Any] = {"translate_const": 43, "img_mean": FILL}
    if interpolation == "bicubic":
        hparams["interpolation"] = Image.Resampling.BICUBIC
    theirs = timm_auto.rand_augment_transform(config, hparams)
    ours = rand_augment(config, MEAN, BOTH if interpolation == "random" else BOTH[1:])
    # timm chooses the changes by NumPy, and lists them in another order.
    names = [op.name for op in theirs.ops]
    assert sorted(names) == sorted(ours.table)
    ordered = [theirs.ops[names.index(name)] for name in ours.table]
    monkeypatch.setattr(
        np.random,
        "choice",
        lambda ops, count, **_: [ordered[random.randrange(len(ordered))] for _ in range(count)],
    )
    for seed in range(30):
        random.seed(seed)
        _same(ours(photo, random.Random(seed)), theirs(photo))


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.2, 0.5), (0.5, 2.0)), ((1.0, 1.0), (2.0, 3.0))],
)
@pytest.mark.parametrize("size", [(97, 71), (20, 90), (90, 20)])
def test_inception_crop(photo, scale, ratio, size):
    image = photo.resize(size)
    theirs = RandomResizedCropAndInterpolation((32, 40), scale, ratio, "random")
    for seed in range(20):
        random.seed(seed)
        ours = inception_crop(image, (32, 40), scale, ratio, BOTH, random.Random(seed))
        _same(ours, theirs(image))


@pytest.mark.parametrize("corner", [(0, 0), (3, 8), (8, 1)])
def test_simple_crop(photo, corner):
    pixels = np.asarray(photo.resize((40, 32)))
    padded = transforms.functional.pad(Image.fromarray(pixels), 4, padding_mode="reflect")
    theirs = transforms.functional.crop(padded, *corner, 32, 32)
    _same(reflected(pixels, *corner, 32, 32), theirs)


def test_resize_of_the_simple_crop(photo):
    theirs = transforms.Resize(32, transforms.InterpolationMode.BICUBIC)(photo)
    preprocessing = Preprocessing((32, 32), crop_pct=1.0)
    assert preprocessing.resized(photo.height, photo.width) == (theirs.height, theirs.width)


def test_three_augment(photo):
    _same(_grey(photo, random.Random(0)), transforms.Grayscale(3)(photo))
    _same(solarize(photo, 128), transforms.functional.solarize(photo, 128))
    for seed in range(5):
        draws = random.Random(seed)
        radius = random.Random(seed).uniform(0.1, 2.0)
        _same(_blurred(photo, draws), timm_auto.gaussian_blur(photo, radius))


def test_color_jitter(photo, monkeypatch):
    names = "brightness", "contrast", "saturation", "hue"
    theirs = transforms.ColorJitter(0.4, 0.4, 0.4)
    for seed in range(20):
        torch.manual_seed(seed)
        order, *factors = theirs.get_params(
            theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue
        )
        torch.manual_seed(seed)
        changes = [(names[i], factors[i]) for i in order.tolist() if i != 3]
        _same(jittered(photo, changes), theirs(photo))


@pytest.mark.parametrize("size", [(32, 32), (24, 56)])
def test_erased_boxes(size):
    theirs = RandomErasing(0.7, mode="pixel", device="cpu")
    erased = 0
    for seed in range(100):
        random.seed(seed)
        expected = theirs(torch.zeros(3, *size)).numpy().transpose(1, 2, 0)
        ours = np.zeros((*size, 3), np.float32)
        erase(ours, 0.7, random.Random(seed))
        np.testing.assert_array_equal(ours != 0, expected != 0)
        erased += bool(ours.any())
    assert 50 < erased < 90


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("mixup", "cutmix"), [(0.8, 1.0), (0.2, 0.0), (0.0, 1.0)], ids=["both", "mixup", "cutmix"]
)
@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_mixed_images_and_labels(mixup, cutmix, smoothing, probability):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 3, 20, 28)).astype(np.float32)
    labels = rng.integers(0, 7, 6)
    theirs = timm.data.Mixup(
        mixup, cutmix, prob=probability, label_smoothing=smoothing, num_classes=7
    )
    augment = Augmentation(
        mixup=mixup, cutmix=cutmix, mix_probability=probability, label_smoothing=smoothing
    )
    for seed in range(20):
        np.random.seed(seed)
        expected, targets = theirs(torch.tensor(images), torch.tensor(labels))
        ours = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        ours, soft = mix(ours, labels, 7, augment, np.random.RandomState(seed))
        np.testing.assert_array_equal(ours.transpose(0, 3, 1, 2), expected.numpy())
        np.testing.assert_array_equal(soft, targets.numpy())


def test_the_same_erasing_noise_is_standard_normal():
    values = []
    for seed in range(200):
        image = np.zeros((32, 32, 3), np.float32)
        erase(image, 1.0, random.Random(seed))
        values.append(image[image != 0])
    noise = np.concatenate(values)
    assert abs(noise.mean()) < 5 / math.sqrt(len(noise)) and abs(noise.std() - 1) < 0.01
