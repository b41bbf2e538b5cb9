"""A token for a cluster that is started where the user has no home folder, such as in a container."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable
_GIVEN: Final = (_TOKEN, "RAY_AUTH_TOKEN_PATH")


@contextlib.contextmanager
def token_without_home() -> Iterator[None]:
    """Give Ray a token for the duration of a `with` block, if it needs one and cannot keep its own.

    Ray protects a cluster that it starts by a token, which it keeps in the user's home folder. It does not start where
    there is no such folder.
    """
    if os.environ.get(_MODE, "token") != "token" or any(map(os.environ.get, _GIVEN)) or _has_home():
        yield
        return
    os.environ[_TOKEN] = _of_this_process()
    try:
        yield
    finally:
        del os.environ[_TOKEN]


@functools.cache
def _of_this_process() -> str:
    """Return the token: Ray remembers the one of the first cluster that a process starts."""
    return secrets.token_hex(32)


def _has_home() -> bool:
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no name either
        return False
    return os.access(folder, os.W_OK)
