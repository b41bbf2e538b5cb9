"""Paths as they are given, and files that appear whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cae_shared import paths
from cae_shared.temporary import discard, temporary_beside
from cae_train.errors import ArgumentTypeError, ConfigError


def checked_path(name: str, value: Any, wanted: str = "the path of a file") -> Path:
    """Return a path that was given as `str` or `os.PathLike`.

    Args:
        name: the argument's name, for the message.
        value: what was passed.
        wanted: what it has to be, for the message.

    Raises:
        ArgumentTypeError: it is something else.
        ConfigError: it is empty.
    """
    return paths.checked_path(name, value, wrong_type=ArgumentTypeError, empty=ConfigError, wanted=wanted)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the name `path` when the block ends, and goes if it fails."""
    partial = temporary_beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        discard(partial)
