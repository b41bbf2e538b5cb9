"""Paths as they are given, and files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cae_shared.temporary import discard, temporary_beside
from cae_train.errors import ArgumentTypeError


def checked_path(name: str, value: Any) -> Path:
    """Return a path that was given as `str` or `os.PathLike`.

    Raises:
        ArgumentTypeError: it is something else.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{name} is {value!r}: it must be a str or an os.PathLike")
    return Path(text)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the name `path` when the block ends, and goes if it fails."""
    partial = temporary_beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        discard(partial)
