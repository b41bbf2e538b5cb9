"""Checks paths: their kind, and whether results can be written there."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from cae_runtime.errors import RanOutError, UsageError
from cae_runtime.io.formats import is_picture
from cae_runtime.places.address import Address, Place
from cae_shared.folders import make_folder
from cae_shared.limits import has_run_out
from cae_shared.temporary import check_writable, remove_old
from cae_shared.text import counted

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})
_TABLES = frozenset({".csv", ".npz", ".npy", ".json"})

Kind = Literal["folder", "file", "missing"]


def path_kind(path: Place, name: str) -> Kind:
    """Return the kind of a path, following links, or of an address; devices and pipes count as `file`.

    Args:
        path: the path or address.
        name: how the error calls it, `source` or `output`.

    Raises:
        UsageError: the path cannot be accessed: it is too long, or a parent folder is locked; the store cannot be
            asked; or an output is one of the web.
    """
    try:
        if isinstance(path, Address):
            from cae_runtime.places import store

            if name == "output":
                store.check_writable(path)
            return store.kind_of(path)
        mode = mode_of(path)
    except OSError as e:
        raise UsageError(f"{name} {str(path)!r} cannot be accessed: {e.strerror}") from e
    if mode is None:
        return "missing"
    return "folder" if stat.S_ISDIR(mode) else "file"


def mode_of(path: Path) -> int | None:
    """Return the mode of a file or folder, following links; None if it does not exist."""
    try:
        return path.stat().st_mode
    except OSError as e:
        if e.errno in _NOTHING_THERE:
            return None
        raise


def outputs_missing(outputs: Sequence[Place]) -> bool:
    """Return whether none of the outputs that belong together exists; False: all exist.

    Raises:
        UsageError: only some of them exist, or one cannot be accessed.
    """
    there = [output for output in outputs if path_kind(output, "output") != "missing"]
    if there and len(there) < len(outputs):
        missing = [output for output in outputs if output not in there]
        others = len(missing) - 1
        lacking = f"{str(missing[0])!r}" + (f" and {counted(others, 'other')} do not" if others else " does not")
        raise UsageError(
            f"output {str(there[0])!r} exists, but {lacking} (a new picture, or one that failed): overwrite=True "
            "replaces all of them, or choose another folder"
        )
    return not there


def check_folder(path: Path) -> None:
    """Refuse an output that cannot be a folder.

    Raises:
        UsageError: it is a file, or a new folder with the suffix of a file.
    """
    there = path_kind(path, "output")
    if there == "file":
        raise UsageError(f"output {str(path)!r} is a file: name a folder")
    if there == "missing" and (is_picture(path) or path.suffix.lower() in _TABLES):
        raise UsageError(
            f"output {str(path)!r} has the name of a file, and a folder is needed: choose another name, or make the "
            "folder first"
        )


def prepare_output(folder: Place, outputs: Iterable[Place] = ()) -> None:
    """Make the output folder, and check that files can be written to it; of a store, that the bucket exists.

    Temporary files that killed processes left a week ago are removed.

    Args:
        folder: where outputs go.
        outputs: those of them that go into folders within it, where old temporary files are looked for too.

    Raises:
        UsageError: it cannot be made or written to.
    """
    if isinstance(folder, Address):
        _check_bucket(folder)
        return
    try:
        make_folder(folder)
        now = check_writable(folder)
    except InterruptedError:
        raise
    except OSError as e:
        kind = RanOutError if has_run_out(e) else UsageError
        raise kind(f"output folder {str(folder)!r} cannot be written to: {_reason(folder, e)}") from e
    for place in {output.parent for output in outputs if isinstance(output, Path)} - {folder}:
        remove_old(place, now)


def _check_bucket(folder: Address) -> None:
    from cae_runtime.places import store

    store.check_writable(folder)
    try:
        store.kind_of(folder.in_root(""))
    except OSError as e:
        if e.errno != errno.EACCES:  # one who may write need not be allowed to list
            raise UsageError(f"output folder {str(folder)!r} cannot be written to: {e.strerror}") from e


def _reason(folder: Path, error: OSError) -> str:
    """Return why a folder could not be made: a file of its name, or of that of a folder above it, is named."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                return f"{str(place)!r} is a file"
    return error.strerror or str(error)


def identity_of(path: Place) -> tuple[int, int] | str | None:
    """Return what identifies a file or folder under all of its names; None if it does not exist.

    Addresses have theirs also where nothing is.
    """
    if isinstance(path, Address):
        return path.identity
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def spelling_of(path: Place) -> str:
    """Normalize a path so that two paths to the same file are equal, even before it exists."""
    if isinstance(path, Address):
        return path.identity
    key = os.path.realpath(path)
    return key.casefold() if sys.platform in {"win32", "darwin"} else key
