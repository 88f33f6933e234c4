"""`benchmark`: that it measures what it says; how fast anything is, is not tested."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keras_vit.errors import ExportError, UsageError
from keras_vit.export import benchmark


@pytest.fixture(scope="module")
def measured(exported: Any) -> Any:
    files = [exported("onnx").path, exported("tflite").path]
    done: list[tuple[int, int]] = []
    rows = benchmark(files, batch_sizes=(1, 3), rounds=2, progress=lambda *step: done.append(step))
    assert done == [(1, 2), (2, 2)]
    return rows


def test_every_file_has_its_size_and_format(measured: Any, exported: Any) -> None:
    for row, format in zip(measured, ("onnx", "tflite"), strict=True):
        assert row.format == format
        assert row.size == exported(format).path.stat().st_size


def test_every_batch_is_timed(measured: Any) -> None:
    for row in measured:
        assert [each.images for each in row.latencies] == [1, 3]
        for each in row.latencies:
            assert 0 < each.low <= each.milliseconds <= each.high
            assert each.cpu_milliseconds > 0


def test_ratios_are_of_the_first_file(measured: Any) -> None:
    assert [each.ratio for each in measured[0].latencies] == [1, 1]


def test_memory_and_loading_are_measured(measured: Any) -> None:
    for row in measured:
        assert row.load_seconds > 0
        assert row.memory > 0


def test_answers_are_compared_with_the_first_file(measured: Any) -> None:
    first, second = measured
    assert (first.max_difference, first.top1_agreement) == (0, 1)
    assert 0 < second.max_difference < 1e-4
    assert second.top1_agreement == 1
    assert second.cosine > 0.9999


def test_files_for_other_images_are_not_compared(exported: Any, build: Any, tmp_path: Path) -> None:
    from keras_vit.export import export_model

    export_model(build(image_size=48), tmp_path / "m.onnx", verify=False)
    rows = benchmark([exported("onnx").path, tmp_path / "m.onnx"], batch_sizes=(1,), rounds=1)
    assert rows[1].max_difference is rows[1].cosine is rows[1].top1_agreement is None


def test_damaged_file_is_one_line(exported: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported("onnx").path.read_bytes()[:2000])
    with pytest.raises(ExportError, match=r"cut\.onnx cannot be run: ") as caught:
        benchmark([path], rounds=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"rounds": 0}, {"threads": 0}, {"batch_sizes": (0,)}])
def test_numbers_have_to_be_positive(exported: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="positive"):
        benchmark([exported("onnx").path], **arguments)


def test_command_prints_json(exported: Any) -> None:
    path = str(exported("onnx").path)
    command = [sys.executable, "-m", "keras_vit.cli", "benchmark", path, "--rounds", "1"]
    done = subprocess.run(
        [*command, "--batch-size", "2", "--json"], capture_output=True, check=True, text=True
    )
    (row,) = json.loads(done.stdout)
    assert row["path"] == path
    assert [each["images"] for each in row["latencies"]] == [2]
