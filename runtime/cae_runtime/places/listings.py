"""Lists files in a store and finds the ones that match a pattern. A page that fails to load is never skipped."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.retries import tried

_SIGN = re.compile(r"[*?\[]")


def below(system: Any, folder: Address) -> Iterator[tuple[str, int | None]]:
    """Yield the key and the size in bytes (None: unknown) of all files below a folder.

    Args:
        system: the store's fsspec file system.
        folder: the folder to list.

    Raises:
        StoreError: the folder cannot be listed.
    """
    if folder.protocol == "s3":
        for page in _pages(system, folder, f"{folder.key}/" if folder.key else ""):
            yield from _files(page)
        return
    found = tried(lambda: system.find(folder.in_store, detail=True), folder)
    start = f"{folder.root}/" if folder.root else "/" if folder.protocol == "memory" else ""
    for name, info in found.items():
        if info.get("type") != "directory" and not name.endswith("/"):
            yield name.removeprefix(start), info.get("size")


def matches(system: Any, pattern: Address) -> dict[str, int | None]:
    """Return the sorted keys and the sizes of the files and folders that match a pattern; folders have size None.

    If only the last name has wildcards, one folder is listed; otherwise, everything below the literal part.

    Raises:
        StoreError: the store cannot be listed, or the pattern is invalid.
    """
    from fsspec.utils import glob_translate

    try:
        expression = re.compile(glob_translate(pattern.key))
    except ValueError as e:
        raise StoreError(str(e)) from e
    literal = _SIGN.split(pattern.key, maxsplit=1)[0]
    flat = "**" not in pattern.key and "/" not in pattern.key[len(literal) :]
    found = dict(_one_folder(system, pattern, literal) if flat else _deep(system, pattern, literal))
    end = "/" if pattern.key.endswith("/**") else ""  # `a/**` also matches the folder `a` itself
    folders = {name for key in found for name in _folders_of(key)}
    kept = {key: size for key, size in found.items() if key not in folders and expression.match(key)}
    kept |= {key: None for key in folders if expression.match(key + end)}
    return {key.removesuffix("/"): kept[key] for key in sorted(kept)}


def _one_folder(system: Any, pattern: Address, literal: str) -> Iterator[tuple[str, int | None]]:
    if pattern.protocol != "s3":
        yield from _deep(system, pattern, literal)
        return
    for page in _pages(system, pattern, literal, "/"):
        yield from _files(page)
        yield from ((f"{each['Prefix']}.", None) for each in page.get("CommonPrefixes", ()))


def _deep(system: Any, pattern: Address, literal: str) -> Iterator[tuple[str, int | None]]:
    if pattern.protocol == "s3":
        for page in _pages(system, pattern, literal):
            yield from _files(page)
        return
    try:
        yield from below(system, pattern.in_root(literal.rpartition("/")[0]))
    except StoreError as e:
        if e.errno != errno.ENOENT:
            raise


def _folders_of(key: str) -> Iterator[str]:
    names = key.split("/")[:-1]
    return ("/".join(names[:count]) for count in range(1, len(names) + 1))


def _pages(system: Any, address: Address, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
    """Yield the pages of an S3 listing; each page has its own retries."""
    more: dict[str, str] = {}
    while True:
        ask = partial(system.call_s3, "list_objects_v2", Bucket=address.root, Prefix=prefix, Delimiter=delimiter)
        page = tried(partial(ask, **more), address)
        yield page
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _files(page: dict[str, Any]) -> Iterator[tuple[str, int | None]]:
    return ((each["Key"], each["Size"]) for each in page.get("Contents", ()) if not each["Key"].endswith("/"))
