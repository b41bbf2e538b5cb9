"""Stores for tests: fsspec's memory, an S3 server of moto, and a server between that makes trouble."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cae_runtime.places import retries
from cae_shared import signals

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>of a test</Message></Error>'


@pytest.fixture(autouse=True)
def no_signal_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a signal, which a test before may have sent to this process, no request is made again."""
    monkeypatch.setattr(signals._State, "first", 0)
    monkeypatch.setattr(signals._State, "count", 0)


@pytest.fixture
def photos(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    """Return a folder of pictures, with other files, and some that are left out."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "deep/er/c.png", "deep/d.tif", ".hidden/e.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise((24, 33, 3))).save(path, comment=b"kept") if name == "b.jpg" else Image.fromarray(
            noise((24, 33, 3))
        ).save(path)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "Thumbs.db").write_bytes(b"of a system")
    (folder / "notes.txt").write_bytes(b"left out")
    return folder


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return fsspec's file system in memory, empty."""
    import fsspec

    system = fsspec.filesystem("memory")
    monkeypatch.setattr(type(system), "store", {})
    monkeypatch.setattr(type(system), "pseudo_dirs", [""])
    return system


def put(system: Any, folder: Path, where: str) -> None:
    """Copy a folder to a store."""
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{where}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def content(system: Any, where: str) -> dict[str, bytes]:
    """Return the files of a store."""
    return {name.removeprefix(f"{where}/"): system.cat_file(name) for name in system.find(where)}


def local(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Yield the address of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def client(moto: str) -> Any:
    """Return a client of the S3 server."""
    import s3fs

    user = {"key": "key", "secret": "any"}
    return s3fs.S3FileSystem(**user, endpoint_url=moto, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture
def s3(moto: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield the file system of an S3 server with the empty buckets `incoming` and `cleaned`, which `cae-run` finds."""
    environment = {
        "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    for bucket in ("incoming", "cleaned"):
        client.mkdir(bucket)
    yield client
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()  # noqa: S310


@dataclass
class Trouble:
    """What the server between does to requests whose line has a text, such as `GET /incoming/a.png`.

    Attributes:
        endpoint: its address.
        rules: text, how often (-1: always), and what happens: a status, `reset`, or seconds to wait before the answer.
        seen: the lines of all requests.
    """

    endpoint: str = ""
    rules: list[list[Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def add(self, text: str, times: int, what: int | str | float) -> None:
        self.rules.append([text, times, what])

    def count(self, text: str) -> int:
        return sum(text in line for line in self.seen)

    def next(self, line: str) -> int | str | float | None:
        self.seen.append(line)
        for rule in self.rules:
            if rule[0] in line and rule[1]:
                rule[1] -= 1
                return rule[2]
        return None


class _Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    trouble: Trouble
    target: str

    def _answer(self) -> None:
        what = self.trouble.next(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(what, float):
            time.sleep(what)
        if isinstance(what, int):
            code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown", 429: "TooManyRequests"}[what]
            status, headers, data = what, {"Content-Type": "application/xml"}, ERROR.format(code).encode()
        else:
            status, headers, data = self._onward(body)
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header(
            "Content-Length", headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815

    def _onward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        for _ in range(10):
            try:
                onward = http.client.HTTPConnection(self.target, timeout=20)
                onward.request(self.command, self.path, body, dict(self.headers))
                answer = onward.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            except ConnectionError:  # the server's own trouble is none of the test's
                time.sleep(0.05)
            finally:
                onward.close()
        raise AssertionError("the S3 server is gone")

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client may have gone
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def trouble(moto: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    """Yield a server between the command and the S3 server."""
    found = Trouble()
    handler = type("Handler", (_Between,), {"trouble": found, "target": moto.removeprefix("http://")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
    yield found
    server.shutdown()
    server.server_close()
