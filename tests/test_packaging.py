"""The sdist and the wheel carry everything, and the wheel works in an environment of its own."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARRIED = [
    "export/onnx_writer.py",
    "zoo/vit.toml",
    "zoo/labels/imagenet1k.txt",
    "zoo/recipes/deit.toml",
    "cli/__init__.py",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An sdist of this checkout, and the wheel that is built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return {"sdist": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


@pytest.fixture(scope="module")
def python(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that has the wheel, and borrows our dependencies.

    A path that a .pth file names is searched, but its own .pth files are not read: so the editable
    installation that these tests may run from stays out of sight.
    """
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(built["wheel"])]
    subprocess.run([str(python), *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.parametrize("file", CARRIED)
def test_wheel_carries(built: dict[str, Path], file: str) -> None:
    assert f"keras_vit/{file}" in zipfile.ZipFile(built["wheel"]).namelist()


def test_wheel_is_named_for_the_index(built: dict[str, Path]) -> None:
    assert built["wheel"].name.startswith("keras_vit_zoo-")


def test_sdist_carries_the_licence(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.getnames())


def test_wheel_lists_models_without_keras(python: Path, tmp_path: Path) -> None:
    code = (
        "import keras_vit, sys; names = keras_vit.list_models(); "
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules; "
        "print(len(names), keras_vit.__file__)"
    )
    done = subprocess.run(
        [str(python), "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    count, file = done.stdout.split()
    assert int(count) >= 60
    assert Path(file).is_relative_to(python.parents[1])


def test_wheel_installs_the_command(python: Path, tmp_path: Path) -> None:
    command = [str(python.with_name("keras-vit")), "info", "DeiT-Ti", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert '"deit_tiny_patch16_224.fb_in1k"' in done.stdout, done.stderr


def test_wheel_exports(python: Path, tmp_path: Path) -> None:
    code = (
        "import keras_vit\n"
        "m = keras_vit.load('vit_tiny_patch16_224', weights=None, num_classes=3, image_size=32, depth=1)\n"
        "print(keras_vit.export_model(m, 'm.onnx').verified)"
    )
    done = subprocess.run(
        [str(python), "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("True"), done.stderr[-2000:]
