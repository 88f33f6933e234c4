"""The evaluation transform on what users hand over: grey, alpha, palettes, rotations, no images."""

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import eval_batch, eval_image, normalize
from keras_vit.errors import KerasVitError, UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_files_arrays_and_pillow_images_agree(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    expected = eval_image(picture, SMALL)
    assert expected.shape == (16, 16, 3) and expected.dtype == np.uint8
    np.testing.assert_array_equal(eval_image(tmp_path / "a.png", SMALL), expected)
    np.testing.assert_array_equal(eval_image(Image.fromarray(picture), SMALL), expected)
    np.testing.assert_array_equal(eval_batch([tmp_path / "a.png"] * 3, SMALL), [expected] * 3)


@pytest.mark.parametrize("size", [(16, 24), (24, 16)])
@pytest.mark.parametrize("mode", ["center", "squash"])
def test_sizes_that_are_not_square(picture, size, mode):
    preprocessing = Preprocessing(image_size=size, crop_mode=mode)
    assert eval_image(picture, preprocessing).shape == (*size, 3)


def test_an_image_of_the_right_size_is_not_touched(picture):
    np.testing.assert_array_equal(eval_image(picture[:16, :16], SMALL), picture[:16, :16])


def test_grey_is_repeated(picture, tmp_path):
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png")
    result = eval_image(tmp_path / "grey.png", SMALL)
    np.testing.assert_array_equal(result, eval_image(picture[..., :1], SMALL))
    np.testing.assert_array_equal(result[..., 0], result[..., 2])


def test_alpha_is_dropped(picture, tmp_path):
    alpha = np.dstack([picture, np.zeros((20, 30), np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(
        eval_image(tmp_path / "alpha.png", SMALL), eval_image(picture, SMALL)
    )


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_gives_its_colours(picture, tmp_path):
    palette = Image.fromarray(picture).quantize(8)
    palette.save(tmp_path / "p.png", transparency=b"\x00\x80\xff")
    expected = eval_image(np.asarray(palette.convert("RGB")), SMALL)
    np.testing.assert_array_equal(eval_image(tmp_path / "p.png", SMALL), expected)


def test_sixteen_bit_grey_is_scaled_not_clipped(picture, tmp_path):
    Image.fromarray(picture[..., 0].astype(np.uint16) << 8).save(tmp_path / "deep.png")
    expected = eval_image(picture[..., 0], SMALL)
    np.testing.assert_array_equal(eval_image(tmp_path / "deep.png", SMALL), expected)


def test_float_image_file_is_refused_by_name(tmp_path):
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(KerasVitError, match=r"f\.tiff: a 32-bit image"):
        eval_image(tmp_path / "f.tiff", SMALL)


def test_exif_orientation_is_not_applied_as_in_timm(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        eval_image(tmp_path / "turned.png", SMALL), eval_image(picture, SMALL)
    )


def test_grey_model_reads_colour_files_as_grey(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    grey = Preprocessing(image_size=(16, 16), mean=(0.5,), std=(0.5,), crop_pct=1.0)
    result = eval_image(tmp_path / "a.png", grey)
    assert result.shape == (16, 16, 1)


def test_each_of_five_channels_is_resized_like_a_grey_image(picture):
    five = Preprocessing(image_size=(16, 16), mean=(0.5,) * 5, std=(0.5,) * 5)
    one = Preprocessing(image_size=(16, 16), mean=(0.5,), std=(0.5,))
    array = np.dstack([picture, picture[..., :2]])
    result = eval_image(array, five)
    for c in range(5):
        np.testing.assert_array_equal(result[..., c : c + 1], eval_image(array[..., c], one))


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n then nothing", b"\xff\xd8\xff\xe0"]
)
def test_a_file_that_is_not_an_image_is_one_line_with_its_name(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(KerasVitError, match=r"bad\.png: not a readable image") as caught:
        eval_image(tmp_path / "bad.png", SMALL)
    assert "\n" not in str(caught.value)


def test_a_truncated_image_is_refused(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(KerasVitError, match=r"half\.png: not a readable image"):
        eval_image(tmp_path / "half.png", SMALL)


def test_a_missing_file_is_misuse(tmp_path):
    with pytest.raises(UsageError, match="no such image file"):
        eval_image(tmp_path / "none.png", SMALL)


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)],
    ids=["float", "four channels", "a batch"],
)
def test_wrong_arrays_are_misuse(array):
    with pytest.raises(UsageError):
        eval_image(array, SMALL)


@pytest.mark.parametrize("field", [{"interpolation": "nearest"}, {"crop_mode": "border"}])
def test_unknown_preprocessing_is_misuse(picture, field):
    with pytest.raises(UsageError, match="is not one of"):
        eval_image(picture, Preprocessing(image_size=(16, 16), **field))


def test_normalize_maps_the_range():
    result = normalize(np.array([[0, 255, 51]], np.uint8), SMALL)
    np.testing.assert_allclose(result, [[-1, 1, -0.6]], atol=1e-6)
    assert result.dtype == np.float32
