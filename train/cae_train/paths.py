"""Paths as they are given."""

from pathlib import Path
from typing import Any

from cae_shared import paths
from cae_train.errors import ArgumentTypeError, ConfigError


def checked_path(name: str, value: Any, wanted: str = "the path of a file") -> Path:
    """Return a path that was given as `str` or `os.PathLike`.

    Args:
        name: the argument's name, for the message.
        value: what was passed.
        wanted: what it must be, for the message.

    Raises:
        ArgumentTypeError: it has another type.
        ConfigError: it is empty.
    """
    return paths.checked_path(name, value, wrong_type=ArgumentTypeError, empty=ConfigError, wanted=wanted)
