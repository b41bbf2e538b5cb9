"""Lists, reads and writes files in stores, through fsspec's file systems."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from cae_runtime.errors import MissingExtraError, UsageError
from cae_runtime.places import listings
from cae_runtime.places.address import WEB, Address, s3_endpoint
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.retries import tried
from cae_shared.text import counted

_PACKAGES: Final = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "memory": "fsspec",
}
_LOGGERS: Final = ("s3fs", "gcsfs", "adlfs", "fsspec", "botocore", "aiobotocore", "azure")
_OF_EXTRA: Final = "pip install 'cae-toolkit[cloud]' (in a checkout: pip install -e '.[cloud]')"
_ONE_REQUEST: Final = 5 * 2**30  # bytes; larger than any file that is written from memory
_RANGE = 2**26  # bytes of a large file that are read with one request
_CONNECTIONS: Final = 32
_CONNECT_SECONDS, _READ_SECONDS = 10, 30

Kind = Literal["folder", "file", "missing"]


def check_extra(address: Address) -> None:
    """Refuse an address whose packages are not installed.

    Raises:
        MissingExtraError: one is missing; the message says how to install it.
    """
    package = _PACKAGES[address.protocol]
    missing = next((each for each in ("fsspec", package) if find_spec(each) is None), "")
    if missing:
        others = missing if missing in ("gcsfs", "adlfs") else ""
        how = f"pip install {others}, beside the extra: {_OF_EXTRA}" if others else _OF_EXTRA
        raise MissingExtraError(f"{str(address)!r} is an address, which needs an extra: {how} ({missing} is missing)")


def check_writable(address: Address) -> None:
    """Refuse an output that cannot be written to.

    Raises:
        UsageError: it is a web address.
    """
    if address.protocol in WEB:
        raise UsageError(
            f"output {str(address)!r} is a web address, which cannot be written to: name a bucket or a folder"
        )


def kind_of(address: Address) -> Kind:
    """Return whether an address is a folder, a file, or missing.

    Raises:
        StoreError: the store does not answer, or has no such bucket.
    """
    try:
        info = tried(lambda: system_of(address).info(address.in_store), address)
    except StoreError as e:
        if e.errno == errno.ENOENT:
            return "missing"
        raise
    return "folder" if info["type"] == "directory" else "file"


def size_of(address: Address) -> int | None:
    """Return the size of a file in bytes; None if the store does not say.

    Raises:
        StoreError: the store does not answer.
    """
    if address.size is not None:
        return address.size
    size = tried(lambda: system_of(address).info(address.in_store), address).get("size")
    return None if size is None else int(size)


def files_below(folder: Address) -> list[Address]:
    """Return all files below a folder, with their sizes.

    Raises:
        StoreError: the folder cannot be listed.
    """
    return [replace(folder, key=key, size=size) for key, size in listings.below(system_of(folder), folder)]


def matching(pattern: Address) -> list[Address]:
    """Return the files and folders that a pattern with `*`, `?`, `[...]` or `**` matches, in order.

    Raises:
        StoreError: the store cannot be listed, or the pattern is invalid.
    """
    return [replace(pattern, key=key, size=size) for key, size in listings.matches(system_of(pattern), pattern).items()]


def read(address: Address, most: int) -> bytes:
    """Return the bytes of a file.

    Args:
        address: the file.
        most: the largest allowed size, in bytes.

    Raises:
        StoreError: the file cannot be read, or is larger.
    """
    if address.protocol in WEB:
        return tried(partial(_read_web, address, most), address)
    size = size_of(address)
    if size is not None and size > most:
        raise _too_large(size, most)
    options = {"max_concurrency": 1} if address.protocol == "s3" else {}  # otherwise s3fs requests the size again
    part = {"start": 0, "end": most + 1} if size is None else {}
    data: bytes = tried(lambda: system_of(address).cat_file(address.in_store, **part, **options), address)
    if len(data) > most:
        raise _more_than(most)
    return data


def _read_web(address: Address, most: int) -> bytes:
    data = io.BytesIO()
    system_of(address).get_file(address.in_store, data, callback=_limit(most))
    return data.getvalue()


def write(address: Address, data: bytes | memoryview) -> None:
    """Write a file with one request, so that it is complete or absent.

    Raises:
        StoreError: the file cannot be written.
    """
    options: dict[str, Any] = {"chunksize": _ONE_REQUEST, **content_type(address)} if address.protocol == "s3" else {}
    tried(lambda: system_of(address).pipe_file(address.in_store, data, **options), address)


def remove(address: Address) -> None:
    """Remove a file.

    Raises:
        StoreError: it cannot be removed.
    """
    tried(lambda: system_of(address).rm_file(address.in_store), address)


def content_type(address: Address) -> dict[str, str]:
    """Return the option of S3 for the content type of a file."""
    import mimetypes

    kind = mimetypes.guess_type(address.name)[0]
    return {} if kind is None else {"ContentType": kind}


def download(address: Address, path: Path, most: int) -> None:
    """Copy a file from a store.

    Args:
        address: the file.
        path: where the copy goes.
        most: the largest allowed size, in bytes.

    Raises:
        StoreError: the file cannot be read or is larger, or the disk has no room for it and a result of the same size.
    """
    size = size_of(address) or 0
    if size > most:
        raise _too_large(size, most)
    room = shutil.disk_usage(path.parent).free
    if 2 * size > room:
        raise StoreError(
            f"it has {counted(size, 'byte')} and needs twice as much room, but the temporary folder "
            f"{str(path.parent.parent)!r} has room for {room:,}: set TMPDIR to another one"
        )
    if size > _RANGE and address.protocol not in WEB:
        _download_in_ranges(address, path, size)
        return
    tried(lambda: system_of(address).get_file(address.in_store, os.fspath(path), callback=_limit(most)), address)


def _download_in_ranges(address: Address, path: Path, size: int) -> None:
    """Copy a large file from a store: a range that fails is asked for again alone."""
    system = system_of(address)
    before = _version_of(system, address)
    try:
        with path.open("wb") as file:
            for begin in range(0, size, _RANGE):
                end = min(begin + _RANGE, size)
                file.write(tried(partial(system.cat_file, address.in_store, start=begin, end=end), address))
    except StoreError:
        raise
    except OSError as e:
        raise StoreError(e.strerror or str(e), e.errno or 0) from e
    if path.stat().st_size != size or _version_of(system, address) != before:
        raise StoreError("it has changed while it was read")


def _version_of(system: Any, address: Address) -> list[object]:
    """Return what differs between two versions of a file, as far as the store tells."""
    info = tried(lambda: system.info(address.in_store), address)
    return [info.get(name) for name in ("size", "ETag", "etag", "LastModified", "mtime", "last_modified")]


def _too_large(size: int, most: int) -> StoreError:
    return StoreError(f"it has {counted(size, 'byte')}: the limit is {most:,}")


def _more_than(most: int) -> StoreError:
    return StoreError(f"it has more than {counted(most, 'byte')}, the limit")


def _limit(most: int) -> Any:
    """Return a callback that stops a transfer of more than `most` bytes."""
    from fsspec.callbacks import Callback

    class Limit(Callback):  # type: ignore[misc, unused-ignore]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > most:
                raise _more_than(most)

    return Limit()


def system_of(address: Address) -> Any:
    """Return the file system of an address; fsspec caches the ones that it has opened."""
    check_extra(address)
    import fsspec

    for name in _LOGGERS:  # their messages arrive as exceptions too; without a handler, Python would print them
        if not (logger := logging.getLogger(name)).handlers:
            logger.addHandler(logging.NullHandler())
    options: dict[str, Any] = {}
    if address.protocol == "s3":
        options = _s3_options()
        if address.secret:
            options["key"], _, options["secret"] = address.secret.partition(":")
    elif address.protocol in ("gs", "az"):
        options = {"use_listings_cache": False}
    elif address.protocol in WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    system: Any = fsspec.filesystem(address.protocol, **options)
    if address.protocol == "s3":
        system.retries = 1
    return system


def _s3_options() -> dict[str, Any]:
    """Return the options of s3fs: our own, and the user's from FSSPEC_S3_... or fsspec's configuration."""
    from fsspec.config import conf

    given = {**conf.get("s3", {}), **conf.get("s3a", {})}
    options: dict[str, Any] = {
        "max_concurrency": 4,
        **({"endpoint_url": s3_endpoint()} if s3_endpoint() else {}),
        **given,
        "use_listings_cache": False,
    }
    own = {
        "retries": {"total_max_attempts": 1},  # `tried` repeats requests
        "max_pool_connections": _CONNECTIONS,
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
    }
    return options | {"config_kwargs": own | (given.get("config_kwargs") or {})}
