"""Servers that send more than was asked for, or say no length, are read only so far."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cae_runtime.places import store
from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.starts import start_of

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")
BLOCK = bytes(range(256)) * 64


class Endless(BaseHTTPRequestHandler):
    """Answers every request with bytes without end, and without their number."""

    sent = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with suppress(OSError):  # the client has enough
            while True:
                self.wfile.write(BLOCK)
                Endless.sent += len(BLOCK)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[Address]:
    """Return the address of a file without end."""
    Endless.sent = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Address("http", f"127.0.0.1:{server.server_port}", "a.ts")
        server.shutdown()


def test_the_start_of_a_file_without_end_is_read(address: Address) -> None:
    assert start_of(address, 189) == BLOCK[:189]
    assert Endless.sent < 2**26  # what the system's buffers hold


def test_a_file_without_end_is_refused_at_the_limit(address: Address) -> None:
    with pytest.raises(StoreError, match="it has more than 1,000 bytes, the limit"):
        store.read(address, 1000)


def test_a_store_that_says_no_size_is_asked_for_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Unsure:
        def info(self, _name: str) -> dict[str, object]:
            return {"type": "file", "size": None}

        def cat_file(self, _name: str, start: int | None = None, end: int | None = None) -> bytes:
            asked.append((start, end))
            return bytes(2000)[start:end]

    monkeypatch.setattr(store, "system_of", lambda _address: Unsure())
    with pytest.raises(StoreError, match="it has more than 1,000 bytes, the limit"):
        store.read(Address("gs", "bucket", "a.png"), 1000)
    assert asked == [(0, 1001)]
