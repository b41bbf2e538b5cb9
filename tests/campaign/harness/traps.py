"""Traps: a file that nothing may read, and a port that nothing may connect to."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

_READ, _WRITTEN = 1_000_000_000, 1_900_000_000  # times; the first read after the last write sets a new time of reading
SECONDS: Final = 60.0  # of CPU time that a case may take


class SecretFile:
    """A file outside the folder of a case, which a hostile file names.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def lay(self, data: bytes) -> None:
        """Write it, as if it had not been read for years."""
        self.path.write_bytes(data)
        os.utime(self.path, (_READ, _WRITTEN))

    def was_read(self) -> bool:
        """Return whether something has read it since."""
        return self.path.stat().st_atime > _READ


def was_called(listening: socket.socket) -> bool:
    """Return whether something has connected to a port."""
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True
