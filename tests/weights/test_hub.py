"""Downloads from a hub server on the loopback address: what works, what fails, what is retried."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from keras_vit.errors import CheckpointError, UsageError
from keras_vit.weights.hub import fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ("model.safetensors", "pytorch_model.bin")
REPO = "org/vit"
CONTENT = bytes(range(256)) * 4096


@dataclass
class Hub:
    """A server that speaks as much of the hub's protocol as a download needs."""

    files: dict[str, bytes] = field(default_factory=lambda: {"model.safetensors": CONTENT})
    plain_etag: bool = False
    announced_size: int | None = None
    announced_sha256: str | None = None
    status: dict[str, list[int]] = field(default_factory=lambda: {"HEAD": [], "GET": []})
    error_code: str | None = None
    cut_after: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def etag(self, name: str) -> str:
        digest = hashlib.sha256(self.files[name]).hexdigest()
        return self.announced_sha256 or (digest[:40] if self.plain_etag else digest)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        if (content := self._content("HEAD")) is not None:
            self._start(200, content, len(content))

    def do_GET(self) -> None:
        if (content := self._content("GET")) is None:
            return
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self._start(206 if asked else 200, content, len(content) - first)
        if self.hub.cut_after:
            self.wfile.write(content[first : first + self.hub.cut_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content[first:])

    def _content(self, verb: str) -> bytes | None:
        """The file asked for; None when an error was sent instead."""
        self.hub.requests.append(f"{verb} {self.headers.get('Range') or ''}".strip())
        repo, _, name = self.path.strip("/").partition("/resolve/main/")
        if self.hub.status[verb]:
            self._fail(self.hub.status[verb].pop(0), self.hub.error_code)
        elif repo != REPO:
            self._fail(404, "RepoNotFound")
        elif name not in self.hub.files:
            self._fail(404, "EntryNotFound")
        else:
            return self.hub.files[name]
        return None

    def _fail(self, status: int, code: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()

    def _start(self, status: int, content: bytes, length: int) -> None:
        name = self.path.rpartition("/")[2]
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        self.send_header("X-Linked-Size", str(self.hub.announced_size or len(content)))
        self.send_header("Content-Length", str(length))
        if status == 206:
            first = len(content) - length
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("KERAS_VIT_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield hub
        server.shutdown()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KERAS_VIT_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "KERAS_VIT_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not waited for."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def only_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def cached_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_file_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    path = fetch(REPO, NAMES, cache_dir=tmp_path)
    assert path.name == "model.safetensors"
    assert path.read_bytes() == CONTENT


def test_the_second_name_is_taken_where_the_first_is_missing(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"pytorch_model.bin": b"torch"}
    assert fetch(REPO, NAMES, cache_dir=tmp_path).read_bytes() == b"torch"


def test_a_cached_file_costs_one_request(hub: Hub, tmp_path: Path) -> None:
    first = fetch(REPO, NAMES, cache_dir=tmp_path)
    hub.requests.clear()
    assert fetch(REPO, NAMES, cache_dir=tmp_path) == first
    assert hub.requests == ["HEAD"]


def test_a_cached_file_is_found_without_waiting_when_the_server_is_gone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    first = fetch(REPO, NAMES, cache_dir=tmp_path)
    monkeypatch.setenv("KERAS_VIT_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    assert fetch(REPO, NAMES, cache_dir=tmp_path) == first
    assert pauses == []


@pytest.mark.parametrize("switch", ["KERAS_VIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_uses_the_cache_and_no_request(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    first = fetch(REPO, NAMES, cache_dir=tmp_path)
    hub.requests.clear()
    monkeypatch.setenv(switch, "1")
    assert fetch(REPO, NAMES, cache_dir=tmp_path) == first
    assert hub.requests == []


def test_offline_and_not_cached(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_VIT_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="not in the cache") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    assert "weights=None" in only_line(error) and 'weights="FILE"' in only_line(error)
    assert hub.requests == []


def test_the_hubs_own_endpoint_variable_is_honoured(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", os.environ["KERAS_VIT_ENDPOINT"] + "/")
    monkeypatch.delenv("KERAS_VIT_ENDPOINT")
    assert fetch(REPO, NAMES, cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_missing_file(hub: Hub, tmp_path: Path) -> None:
    hub.files = {}
    with pytest.raises(CheckpointError, match="has no model") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    assert "weights=None" in only_line(error)
    assert hub.requests == ["HEAD", "HEAD"]


def test_a_missing_repository(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="org/other: no such repository") as error:
        fetch("org/other", NAMES, cache_dir=tmp_path)
    assert "weights=None" in only_line(error)


def test_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    hub.status["HEAD"], hub.error_code = [403], "GatedRepo"
    with pytest.raises(CheckpointError, match="gated; accept its terms") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    only_line(error)


def test_a_missing_revision(hub: Hub, tmp_path: Path) -> None:
    hub.status["HEAD"], hub.error_code = [404], "RevisionNotFound"
    with pytest.raises(CheckpointError, match="no revision 'v9'") as error:
        fetch(REPO, NAMES, revision="v9", cache_dir=tmp_path)
    only_line(error)


def test_a_name_that_no_repository_can_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no hub repository") as error:
        fetch("org/vit/../../etc", NAMES, cache_dir=tmp_path)
    only_line(error)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setenv("KERAS_VIT_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(CheckpointError, match="cannot be downloaded from http://127") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    assert "weights=None" in only_line(error)
    assert pauses == [1.0, 3.0]


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_an_overloaded_server_is_asked_again(
    hub: Hub, tmp_path: Path, pauses: list[float], verb: str
) -> None:
    hub.status[verb] = [503, 503]
    assert fetch(REPO, NAMES, cache_dir=tmp_path).read_bytes() == CONTENT
    assert pauses == [1.0, 3.0]


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_a_server_that_stays_overloaded(
    hub: Hub, tmp_path: Path, pauses: list[float], verb: str
) -> None:
    hub.status[verb] = [503] * 9
    with pytest.raises(CheckpointError, match="answers 503") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    only_line(error)
    assert cached_files(tmp_path / "models--org--vit" / "snapshots") == []


def test_a_refusal_is_not_repeated(hub: Hub, tmp_path: Path, pauses: list[float]) -> None:
    hub.status["HEAD"] = [418]
    with pytest.raises(CheckpointError, match="answers 418"):
        fetch(REPO, NAMES, cache_dir=tmp_path)
    assert pauses == []


def test_an_interrupted_download_is_taken_up_again(
    hub: Hub, tmp_path: Path, pauses: list[float]
) -> None:
    hub.cut_after = [100_000, 50_000]
    assert fetch(REPO, NAMES, cache_dir=tmp_path).read_bytes() == CONTENT
    assert sum(request.startswith("GET") for request in hub.requests) == 3


def test_a_download_that_is_always_interrupted(
    hub: Hub, tmp_path: Path, pauses: list[float]
) -> None:
    hub.cut_after = [0] * 99
    with pytest.raises(CheckpointError, match="cannot be downloaded") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    only_line(error)
    assert cached_files(tmp_path / "models--org--vit" / "snapshots") == []


def test_a_wrong_size(hub: Hub, tmp_path: Path, pauses: list[float]) -> None:
    hub.announced_size = len(CONTENT) + 1
    with pytest.raises(CheckpointError, match="size") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    only_line(error)
    assert cached_files(tmp_path / "models--org--vit" / "snapshots") == []


def test_wrong_bytes_are_refused_and_not_kept(
    hub: Hub, tmp_path: Path, pauses: list[float]
) -> None:
    hub.announced_sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(CheckpointError, match="damaged") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path)
    only_line(error)
    assert cached_files(tmp_path / "models--org--vit" / "blobs") == []
    assert cached_files(tmp_path / "models--org--vit" / "snapshots") == []


@pytest.mark.parametrize("plain_etag", [True, False])
def test_an_expected_hash(hub: Hub, tmp_path: Path, plain_etag: bool) -> None:
    hub.plain_etag = plain_etag
    digest = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):
        path = fetch(REPO, NAMES, sha256=digest, cache_dir=tmp_path)
        assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("plain_etag", [True, False])
def test_another_hash_than_expected(
    hub: Hub, tmp_path: Path, pauses: list[float], plain_etag: bool
) -> None:
    hub.plain_etag = plain_etag
    with pytest.raises(CheckpointError, match=r"SHA-256|damaged") as error:
        fetch(REPO, NAMES, sha256="0" * 64, cache_dir=tmp_path)
    only_line(error)


def test_a_cached_file_with_another_hash_than_expected(hub: Hub, tmp_path: Path) -> None:
    fetch(REPO, NAMES, cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="not the expected file") as error:
        fetch(REPO, NAMES, sha256="0" * 64, cache_dir=tmp_path)
    only_line(error)


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot write the cache") as error:
        fetch(REPO, NAMES, cache_dir=tmp_path / "cache")
    only_line(error)


def test_load_takes_a_model_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    """In a process of its own, as the hub's library reads its cache's place once."""
    small = "num_classes=2, image_size=32, patch_size=16, depth=1"
    make = (
        "import keras_vit; m = keras_vit.load('vit_tiny_patch16_224', weights=None, "
        f"{small}); keras_vit.save_weights(m, {str(tmp_path / 'made.safetensors')!r})"
    )
    load = (
        f"import keras_vit; m = keras_vit.load('ViT-Ti/16', weights='hf://{REPO}', {small}); "
        "print(m.config.weights, len(m.load_report.loaded), m.load_report.reinitialised)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache")}
    run = partial(subprocess.run, capture_output=True, text=True, env=environment)
    run([sys.executable, "-P", "-c", make])
    hub.files["model.safetensors"] = (tmp_path / "made.safetensors").read_bytes()
    done = run([sys.executable, "-P", "-c", load])
    assert done.stdout.strip() == f"hf://{REPO} 20 ()", done.stderr[-800:]


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
