"""The command in a real process, and what the tests of it share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_COMMAND = (sys.executable, "-m", "keras_vit.cli")
_TINY = {"depth": 1, "embed_dim": 48, "num_heads": 2, "patch_size": 4}


@dataclass(frozen=True)
class Run:
    """How a command ended: its exit code, and what it printed to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that it printed."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line with which it failed."""
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("error: ").strip()


def _environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """A user's, without what would change the output."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KERAS_VIT_", "TF_CPP_"))}
    return {**kept, "KERAS_BACKEND": "tensorflow", **(changes or {})}


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs `keras-vit` on arguments, in a folder and with changes of the environment."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*args: str | Path, cwd: Path = elsewhere, env: Mapping[str, str] | None = None) -> Run:
        result = subprocess.run(
            [*_COMMAND, *map(str, args)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=_environment(env),
            timeout=600,
            check=False,
        )
        return Run(result.returncode, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def start_cli() -> Callable[..., subprocess.Popen[str]]:
    """Starts `keras-vit` on arguments in a folder and returns the process."""

    def start(*args: str | Path, cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*_COMMAND, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=_environment(),
        )

    return start


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Arguments for a fresh ViT of 17 tokens."""
    settings = [part for key, value in _TINY.items() for part in ("--set", f"{key}={value}")]
    return ["vit_tiny_patch16_224", "--weights", "none", "--image-size", "16", *settings]


@pytest.fixture
def without_keras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Changes of the environment that make importing Keras or a backend an error."""
    folder = tmp_path_factory.mktemp("stubs")
    for module in ("keras", "tensorflow"):
        (folder / f"{module}.py").write_text(f"raise RuntimeError('{module} was imported')\n")
    return {"PYTHONPATH": str(folder)}
