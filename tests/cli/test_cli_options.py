"""How arguments are read, and how numbers are written."""

import click
import pytest

from keras_vit.cli.options import Assignment, Batch, ImageSize
from keras_vit.cli.output import file_size, scaled, size

GOOD = [
    (ImageSize(), "224", (224, 224)),
    (ImageSize(), "224x320", (224, 320)),
    (Batch(), "8", 8),
    (Batch(), "dynamic", "dynamic"),
    (Assignment(), "depth=2", ("depth", 2)),
    (Assignment(), "drop_path_rate=1e-1", ("drop_path_rate", 0.1)),
    (Assignment(), "global_pool=avg", ("global_pool", "avg")),
    (Assignment(), "qkv_bias=false", ("qkv_bias", False)),
    (Assignment(), "qkv_bias=False", ("qkv_bias", False)),
    (Assignment(), "init_values=none", ("init_values", None)),
    (Assignment(), "patch_size=[8, 4]", ("patch_size", (8, 4))),
    (Assignment(), "name=a=b", ("name", "a=b")),
]
BAD = [
    (ImageSize(), "224x"),
    (ImageSize(), "-1"),
    (Batch(), "-1"),
    (Batch(), "0"),
    (Batch(), "1.5"),
    (Assignment(), "depth"),
    (Assignment(), "=2"),
    (Assignment(), "two words=2"),
]


def _name(value: object) -> str:
    return value.name if isinstance(value, click.ParamType) else str(value)


@pytest.mark.parametrize(("kind", "text", "value"), GOOD, ids=_name)
def test_reading(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(("kind", "text"), BAD, ids=_name)
def test_refusing(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (5_717_416, "5.72M"), (17_582_740_224, "17.6G"), (1.5e12, "1.5T")],
)
def test_counts(number, text):
    assert scaled(number) == text


@pytest.mark.parametrize(("number", "text"), [(900, "0.9 kB"), (22_123_456, "22.1 MB")])
def test_file_sizes(number, text):
    assert file_size(number) == text


def test_image_sizes():
    assert (size((224, 224)), size((224, 320))) == ("224", "224x320")
