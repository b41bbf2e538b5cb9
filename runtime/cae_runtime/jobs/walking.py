"""Finds the files below a folder, of this machine or of a store."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.io.formats import is_picture
from cae_runtime.io.headers.unsupported import OF_SYSTEMS, is_other_picture
from cae_runtime.jobs.paths import identity_of, mode_of
from cae_runtime.places.address import Address, Place
from cae_shared.paths import special_kind

_NO_NAMES: Final = frozenset({"", ".", ".."})
_NOT_ON_WINDOWS: Final = frozenset('\\:*?"<>|')


@dataclass(frozen=True)
class Unreadable:
    """A file or folder that could not be read, or an image or video in a format that is not read, and the reason."""

    path: Place
    reason: str
    other_picture: bool = False


def below(path: Place, folder: Place) -> PurePath:
    """Return the names of a file that was found below a folder, from there."""
    if isinstance(path, Address):
        return path.relative_to(folder) if isinstance(folder, Address) else PurePath(path.name)
    return path.relative_to(folder) if isinstance(folder, Path) else PurePath(path.name)


def files_below(folder: Place, left_alone: Place | None, unreadable: list[Unreadable]) -> Iterator[Place]:
    """Yield the files below a folder in order, without hidden and system files; links are followed, but not in circles.

    Args:
        folder: where to begin.
        left_alone: a folder that is not walked, or None.
        unreadable: what cannot be read is added to it.

    Raises:
        UsageError: the folder that the walk starts from cannot be read.
    """
    if isinstance(folder, Address):
        return _listed(folder, left_alone if isinstance(left_alone, Address) else None, unreadable)
    return _walk(folder, identity_of(left_alone) if isinstance(left_alone, Path) else None, unreadable)


def _listed(folder: Address, left_alone: Address | None, unreadable: list[Unreadable]) -> Iterator[Place]:
    """Yield the files of a store, in the order in which `_walk` yields those of this machine."""
    from cae_runtime.places import store

    try:
        files = store.files_below(folder)
    except OSError as e:
        raise UsageError(f"source folder {str(folder)!r} cannot be read: {e.strerror}") from e
    apart = left_alone if left_alone is not None and left_alone.identity != folder.identity else None
    for file in sorted(files, key=lambda each: each.parts):
        names = file.parts[len(folder.parts) :]
        if any(is_left_out(name) for name in names if name not in _NO_NAMES):
            continue
        if apart is not None and file.is_below(apart):
            continue
        if not _NO_NAMES.isdisjoint(names) or (sys.platform == "win32" and _NOT_ON_WINDOWS & set("".join(names))):
            if is_picture(file) or is_other_picture(file):
                unreadable.append(Unreadable(file, "has a name that no file can have"))
            continue
        yield file


def is_left_out(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or an operating system's own."""
    return name.startswith(".") or name.casefold() in OF_SYSTEMS


def _walk(folder: Path, left_alone: object, unreadable: list[Unreadable]) -> Iterator[Place]:
    """Yield the files below a folder in order, without hidden and system files; follows links, but not in circles.

    What cannot be read is added to `unreadable`.

    Raises:
        UsageError: the folder that the walk starts from cannot be read.
    """
    try:
        opened = [(identity_of(folder), iter(sorted(folder.iterdir())))]  # from the first folder to the current one
    except OSError as e:
        raise UsageError(f"source folder {str(folder)!r} cannot be read: {e.strerror}") from e
    while opened:
        entry = next(opened[-1][1], None)
        if entry is None:
            opened.pop()
            continue
        mode = _mode_of_entry(entry, unreadable)
        if stat.S_ISREG(mode):
            yield entry
        if not stat.S_ISDIR(mode):
            continue
        identity = identity_of(entry)
        if identity in (above for above, _ in opened) or (identity is not None and identity == left_alone):
            continue
        try:
            opened.append((identity, iter(sorted(entry.iterdir()))))
        except OSError as e:
            unreadable.append(Unreadable(entry, f"cannot be read: {e.strerror}"))


def _mode_of_entry(entry: Path, unreadable: list[Unreadable]) -> int:
    """Return the mode of an entry of a walked folder; 0 if it is left out or added to `unreadable`."""
    if is_left_out(entry.name):
        return 0
    try:
        mode = mode_of(entry)
    except OSError as e:
        unreadable.append(Unreadable(entry, f"cannot be accessed: {e.strerror}"))
        return 0
    if mode is None and is_picture(entry):
        unreadable.append(Unreadable(entry, "is a link to nothing"))
    named_like_one = is_picture(entry) or is_other_picture(entry)
    if mode is not None and named_like_one and (kind := special_kind(mode)):  # opening a pipe could block forever
        unreadable.append(Unreadable(entry, f"is not a file but {kind}: it was not opened"))
    return mode or 0
