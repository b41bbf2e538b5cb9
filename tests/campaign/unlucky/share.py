"""A file system that stalls, as one of a network does; needs FUSE.

    python -m tests.campaign.unlucky.share ROOT MOUNT SWITCH

It shows the folder ROOT at MOUNT. While the file SWITCH exists, reading and writing wait.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import fuse

_PAUSE = 0.02  # seconds


class Share(fuse.Operations):  # type: ignore[misc]
    """The operations that the kernel asks for; each gets a path below the mount, which begins with a slash."""

    def __init__(self, root: str, switch: str) -> None:
        self._root, self._switch = root, Path(switch)

    def _wait(self) -> None:
        while self._switch.exists():
            time.sleep(_PAUSE)

    def __call__(self, operation: str, path: str, *given: Any) -> Any:
        """Do an operation on the place below the root."""
        return super().__call__(operation, self._root + path, *given)

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, Any]:
        status = os.lstat(path)
        return {name: getattr(status, name) for name in dir(status) if name.startswith("st_") and name[-3:] != "_ns"}

    def readdir(self, path: str, _handle: int) -> list[str]:
        return [".", "..", *(entry.name for entry in Path(path).iterdir())]

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags)

    def create(self, path: str, mode: int, _info: object = None) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, _path: str, size: int, offset: int, handle: int) -> bytes:
        self._wait()
        return os.pread(handle, size, offset)

    def write(self, _path: str, data: bytes, offset: int, handle: int) -> int:
        self._wait()
        return os.pwrite(handle, data, offset)

    def truncate(self, path: str, length: int, _handle: int | None = None) -> None:
        os.truncate(path, length)

    def release(self, _path: str, handle: int) -> None:
        os.close(handle)

    def mkdir(self, path: str, mode: int) -> None:
        Path(path).mkdir(mode)

    def rmdir(self, path: str) -> None:
        Path(path).rmdir()

    def unlink(self, path: str) -> None:
        Path(path).unlink()

    def rename(self, old: str, new: str) -> None:
        Path(old).replace(self._root + new)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(path, times)

    def chmod(self, _path: str, _mode: int) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


if __name__ == "__main__":
    fuse.FUSE(Share(sys.argv[1], sys.argv[3]), sys.argv[2], foreground=True)
