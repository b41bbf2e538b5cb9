"""Keeps native libraries from writing into a command's messages.

Decoders write warnings to file descriptor 2 on their own. A command uses `own_stderr`, which lets Python's `sys.stderr`
write to a copy of it. Then `quiet` can silence the descriptor while a decoder works, in any thread, and Python's
messages still arrive. Everything else that a native library writes, such as a message before a crash, is shown.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


class _State:
    lock = threading.Lock()
    owned = False  # whether `sys.stderr` is apart from file descriptor 2
    depth = 0  # blocks of `quiet` that are being executed, in all threads
    kept = -1  # a copy of file descriptor 2 meanwhile


@contextlib.contextmanager
def own_stderr() -> Iterator[None]:
    """Let `sys.stderr` write past `quiet`, and a crash of a native library leave a trace there."""
    try:
        kept = os.dup(2)
    except OSError:  # the process was started without a stderr
        with Path(os.devnull).open("w") as sys.stderr:
            yield
        return
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # of threads that decode ahead
    before, owned = sys.stderr, _State.owned
    with os.fdopen(kept, "w", buffering=1, encoding=before.encoding, errors="backslashreplace") as stream:
        sys.stderr, _State.owned = stream, True
        traces = not faulthandler.is_enabled()
        if traces:
            faulthandler.enable(stream)
        try:
            yield
        finally:
            if traces:
                faulthandler.disable()
            sys.stderr, _State.owned = before, owned


def is_own() -> bool:
    """Return whether this is within `own_stderr`: a command, and not a program that uses the library."""
    return _State.owned


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what native libraries write to stderr, within `own_stderr`; elsewhere do nothing."""
    entered = _begin()
    try:
        yield
    finally:
        if entered:
            _end()


def _begin() -> bool:
    with _State.lock:
        if not _State.owned:
            return False
        if _State.depth == 0:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            _State.kept = os.dup(2)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _State.depth += 1
        return True


def _end() -> None:
    with _State.lock:
        _State.depth -= 1
        if _State.depth == 0:
            os.dup2(_State.kept, 2)
            os.close(_State.kept)
