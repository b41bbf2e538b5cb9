"""Checks paths that users pass in."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Final

_SPECIAL: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def checked_path(
    name: str, value: Any, *, wrong_type: type[Exception], empty: type[Exception], wanted: str = "the path of a file"
) -> Path:
    """Return a path that was given as `str` or `os.PathLike`.

    Args:
        name: the argument's name, for the message.
        value: what was passed.
        wrong_type: the error to raise if it is not a path.
        empty: the error to raise if it is empty, which would mean the current folder.
        wanted: what it must be, for the message.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise wrong_type(f"{name} is {value!r}: it must be a str or an os.PathLike, {wanted}")
    if not text:
        raise empty(f"{name} is empty: it must be {wanted}")
    return Path(text)


def special_kind(mode: int) -> str:
    """Return what is neither a file nor a folder, such as `a device`; empty for files and folders.

    Args:
        mode: as `os.stat` returns it.
    """
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return _SPECIAL.get(stat.S_IFMT(mode), "something else")
