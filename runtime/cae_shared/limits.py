"""Recognizes that the system has run out of something while files are written."""

from __future__ import annotations

import errno
from typing import Final

_SPENT: Final = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, getattr(errno, "EDQUOT", errno.ENOSPC)})


def has_run_out(error: OSError) -> bool:
    """Return whether an error means that disk space, a quota or open files ran out, rather than a wrong name."""
    return error.errno in _SPENT
