"""Random changes of images: how often, how much, and the same again with the same draws."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import Augmentation, batches, eval_image, load, normalize
from keras_vit.data.changes import Changes
from keras_vit.data.crops import inception_box
from keras_vit.data.erasing import erasing_box
from keras_vit.data.magnitudes import BIG_VISION
from keras_vit.data.mixing import mix, soft_labels
from keras_vit.data.operations import cutout
from keras_vit.data.randaugment import rand_augment
from keras_vit.data.three_augment import three_augment
from keras_vit.errors import UsageError

SMALL = Preprocessing(image_size=(24, 24), crop_pct=1.0)
BICUBIC = (Image.Resampling.BICUBIC,)
EVERYTHING = {
    "inception": Augmentation(crop="inception", flip=True, interpolation="random"),
    "simple": Augmentation(crop="simple", flip=True),
    "timm": Augmentation(crop="inception", policy="rand-m9-mstd0.5-inc1", flip=True),
    "AugReg": Augmentation(crop="inception", policy="randaug(2,15)", flip=True),
    "DeiT-III": Augmentation(crop="simple", policy="three", color_jitter=0.3, flip=True),
    "erasing": Augmentation(erasing=1.0, shift=0.1),
    "eval and policy": Augmentation(policy="three", flip=True, shift=0.1),
}


@pytest.fixture(scope="module")
def photos() -> tuple[np.ndarray, np.ndarray]:
    from skimage import data

    pictures = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    small = [np.asarray(Image.fromarray(p).resize((40, 30))) for p in pictures]
    return np.stack(small * 2), np.arange(8) % 4


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_seed_and_not_the_threads_decide(photos, name):
    options = {"augment": EVERYTHING[name], "shuffle": True, "epochs": 2}
    runs = [
        list(batches(load(photos), SMALL, 4, seed=seed, threads=threads, **options))
        for seed, threads in ((1, 1), (1, 5), (2, 1))
    ]
    first, again, other = (np.stack([images for images, _ in run]) for run in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.isfinite(first).all() and first.shape == (4, 4, 24, 24, 3)


@pytest.mark.parametrize("name", EVERYTHING)
def test_files_and_arrays_are_changed_alike(photos, name, tmp_path):
    for i, (image, label) in enumerate(zip(*photos, strict=True)):
        path = tmp_path / str(label) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    files = load(tmp_path)
    order = [int(path.stem) for path in files.images]
    arrays = load((photos[0][order], photos[1][order]))
    options = {"augment": EVERYTHING[name], "cache_bytes": 0}
    for ours, theirs in zip(
        batches(files, SMALL, 8, **options), batches(arrays, SMALL, 8, **options), strict=True
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])


def test_no_changes_are_the_evaluation(photos):
    out = np.empty((1, 24, 24, 3), np.float32)
    changes = Changes(Augmentation(), SMALL)
    changes.apply([changes.decoded(photos[0][0])], [random.Random(0)], out)
    np.testing.assert_array_equal(out[0], normalize(eval_image(photos[0][0], SMALL), SMALL))


def test_inception_crops_have_every_area_and_aspect():
    rng = random.Random(0)
    boxes = np.array(
        [inception_box(200, 200, (0.08, 1.0), (3 / 4, 4 / 3), rng) for _ in range(5000)]
    )
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (top + height <= 200).all() and (left + width <= 200).all()
    # Large boxes fit less often than small ones: the mean is 0.478, by integration.
    area = height * width / 200**2
    assert 0.078 <= area.min() < 0.09 and area.max() > 0.95 and abs(area.mean() - 0.478) < 0.015
    aspect = np.log(width / height)
    assert abs(aspect.mean()) < 0.01 and np.abs(aspect).max() < np.log(4 / 3) + 0.02
    # Uniform positions, where there is room: the middle of the free space.
    free = 200 - height > 50
    assert abs((top[free] / (200 - height[free])).mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size", "box"), [((20, 200), (0, 86, 20, 27)), ((200, 20), (86, 0, 27, 20))]
)
def test_an_image_too_narrow_for_any_crop_gives_its_middle(size, box):
    assert inception_box(*size, (1.0, 1.0), (3 / 4, 4 / 3), random.Random(0)) == box


def test_erased_boxes_have_every_area_and_place():
    rng = random.Random(0)
    found = [erasing_box(100, 100, 0.25, rng) for _ in range(8000)]
    boxes = np.array([box for box in found if box is not None])
    assert abs(len(boxes) / 8000 - 0.25) < 0.02
    area = boxes[:, 2] * boxes[:, 3] / 100**2
    assert 0.018 < area.min() < 0.025 and 0.32 < area.max() < 0.34
    assert (boxes[:, 0] + boxes[:, 2] <= 100).all() and (boxes[:, 1] + boxes[:, 3] <= 100).all()


def test_three_augment_chooses_each_third(photos):
    image = Image.fromarray(photos[0][0])
    grey = image.convert("L").convert("RGB").tobytes()
    rng = random.Random(0)
    count = Counter()
    for _ in range(600):
        changed = three_augment(image, rng)
        if changed.tobytes() == grey:
            count["grey"] += 1
        elif changed.tobytes() == image.point([min(x, 255 - x) for x in range(256)] * 3).tobytes():
            count["solarised"] += 1
        else:
            count["blurred"] += 1
    assert all(160 < count[name] < 240 for name in ("grey", "solarised", "blurred"))


def test_randaugment_of_big_vision_changes_every_image_without_draws_of_its_strength(photos):
    image = Image.fromarray(photos[0][0])
    policy = rand_augment("randaug(2,15)", SMALL.mean, BICUBIC)
    assert (policy.probability, policy.deviation, policy.highest) == (1, 0, None)
    factor = BIG_VISION["Color"].value(1.5, random.Random(0))
    assert factor == pytest.approx(2.8)
    strong = {abs(BIG_VISION["Rotate"].value(1.5, random.Random(i))) for i in range(9)}
    assert strong == {45.0}
    same = [policy(image, random.Random(i)).tobytes() == image.tobytes() for i in range(100)]
    assert sum(same) < 15


@pytest.mark.parametrize(("level", "bits"), [(0.0, 1), (0.2, 1), (1.0, 4), (1.5, 6), (2.0, 8)])
def test_big_vision_posterizes_less_with_the_magnitude(level, bits):
    assert BIG_VISION["Posterize"].value(level, random.Random(0)) == bits


def test_cutout_is_a_grey_square_cut_at_the_border():
    white = Image.new("RGB", (30, 20), "white")
    pixels = np.asarray(cutout(white, (4, 0.5, 0.0)))
    assert (pixels[:4, 11:19] == 128).all()
    assert (pixels == 128).all(axis=2).sum() == 4 * 8


@pytest.mark.parametrize("name", BIG_VISION)
@pytest.mark.parametrize("level", [0.0, 1.0, 2.0])
def test_each_change_of_big_vision_keeps_size_and_mode(photos, name, level):
    image = Image.fromarray(photos[0][0])
    row = BIG_VISION[name]
    more = ((128, 128, 128), Image.Resampling.NEAREST) if row.moves else ()
    changed = row.change(image, row.value(level, random.Random(0)), *more)
    assert (changed.size, changed.mode) == (image.size, "RGB")


@pytest.mark.parametrize("augment", [{"policy": "three"}, {"color_jitter": 0.4}])
def test_colours_of_grey_images_are_misuse(augment):
    grey = Preprocessing((8, 8), mean=(0.5,), std=(0.5,))
    with pytest.raises(UsageError, match="are for RGB images; the model wants 1 channels"):
        Changes(Augmentation(**augment), grey)


def test_grey_images_are_cropped():
    grey = Preprocessing((8, 8), mean=(0.5,), std=(0.5,))
    changes = Changes(Augmentation(crop="inception"), grey)
    out = np.empty((1, 8, 8, 1), np.float32)
    changes.apply([changes.decoded(np.full((20, 20), 255, np.uint8))], [random.Random(0)], out)
    assert (out == 1).all()


def test_mixing_keeps_the_sum_of_an_odd_batch():
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    before = images.copy()
    mixed, labels = mix(images, np.arange(5), 5, Augmentation(mixup=1.0), np.random.RandomState(0))
    share = labels[0, 0]
    assert 0 < share < 1
    np.testing.assert_allclose(mixed, share * before + (1 - share) * before[::-1], atol=1e-6)
    np.testing.assert_allclose(mixed[2], before[2], atol=1e-6)


def test_cutmix_shares_follow_the_box():
    images = np.stack([np.full((20, 20, 3), i, np.float32) for i in range(2)])
    augment = Augmentation(cutmix=1.0)
    for seed in range(20):
        mixed, labels = mix(images.copy(), np.arange(2), 2, augment, np.random.RandomState(seed))
        np.testing.assert_allclose(labels[0, 1], mixed[0].mean(), atol=1e-6)
        np.testing.assert_allclose(labels[1, 1], mixed[1].mean(), atol=1e-6)


def test_a_batch_is_mixed_as_often_as_asked():
    augment = Augmentation(mixup=1.0, cutmix=1.0, mix_probability=0.3, switch_probability=0.5)
    images, labels = np.zeros((2, 4, 4, 3), np.float32), np.arange(2)
    hard = [
        mix(images, labels, 2, augment, np.random.RandomState(seed))[1][0, 0] == 1
        for seed in range(1000)
    ]
    # A CutMix box of no area mixes nothing either.
    assert 0.68 < np.mean(hard) < 0.78


def test_smoothed_labels():
    np.testing.assert_allclose(
        soft_labels(np.array([0, 2]), 4, smoothing=0.1),
        [[0.925, 0.025, 0.025, 0.025], [0.025, 0.025, 0.925, 0.025]],
        rtol=1e-6,
    )
