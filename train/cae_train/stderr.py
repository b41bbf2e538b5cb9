"""Silences image decoders that write to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence what C libraries write to stderr; Python's own stderr keeps working."""
    try:
        kept = os.dup(2)
    except OSError:  # the process was started without a stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    before = sys.stderr
    with os.fdopen(kept, "w", buffering=1, encoding=before.encoding, errors="backslashreplace") as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
