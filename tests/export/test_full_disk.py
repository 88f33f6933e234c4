"""A disk that takes no more: a limit on the size of files stands for it, which any user can set."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import FILES, tiny_vit
from keras_vit.errors import ExportError
from keras_vit.export import export_model

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError comes instead, as from a full disk
model, folder = tiny_vit(), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
found = {}
for format, name in FILES.items():
    try:
        found[format] = export_model(model, folder / name).path
    except ExportError as error:
        found[format] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("full")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("format", ["savedmodel", "tflite", "onnx"])
def test_full_disk_leaves_nothing_and_says_so(messages: dict[str, str], format: str) -> None:
    assert messages[format].startswith("cannot write ")
    assert messages[format].endswith("File too large")
