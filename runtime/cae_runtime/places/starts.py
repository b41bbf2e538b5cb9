"""Reads the first bytes of files in stores."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import partial
from typing import Any

from cae_runtime.places.address import WEB, Address
from cae_runtime.places.retries import tried
from cae_runtime.places.store import system_of


def start_of(address: Address, count: int) -> bytes:
    """Return the first bytes of a file, at most `count`.

    Raises:
        StoreError: the file cannot be read.
    """
    if address.protocol in WEB:  # a server may ignore that only a part is asked for, and never end
        return tried(partial(_start_of_web, address, count), address)
    start: bytes = tried(lambda: system_of(address).cat_file(address.in_store, start=0, end=count), address)
    return start[:count]


def _start_of_web(address: Address, count: int) -> bytes:
    start = _Start(count)
    with suppress(_Enough):
        options = {"headers": {"Range": f"bytes=0-{count - 1}"}}
        system_of(address).get_file(address.in_store, start, chunk_size=count, **options)
    return start.getvalue()[:count]


class _Enough(Exception):  # noqa: N818 - no error
    """The wanted bytes are there."""


class _Start(io.BytesIO):
    """A file that stops its writer once it has enough bytes."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def write(self, data: Any) -> int:
        written = super().write(data)
        if self.tell() >= self._count:
            raise _Enough
        return written
