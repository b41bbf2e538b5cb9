"""Temporary files and folders that are removed however the process ends."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cae_shared.signals import is_ending, temporary_files, temporary_folders

_ENDING = ".partial"
_DIGITS = 16
_OLD = 7 * 86400.0  # seconds after which a file that nobody has written to belongs to a process that was killed
_YOUNG = 3600.0  # seconds
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # of file systems that cannot
_locks: dict[str, int] = {}  # of the temporary folders of this process
_swept: set[tuple[Path, str]] = set()


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Return an unused hidden name in the folder of `path`; the caller must call `discard` in the end.

    Args:
        path: the output that the file will become by `Path.replace`.
        suffix: appended after `.partial`, for writers that derive the format from it.

    Raises:
        InterruptedError: the process is about to end, and would leave the file behind.
    """
    temporary = path.with_name(_name() + suffix)
    temporary_files.add(os.path.abspath(temporary))  # noqa: PTH100 - as text: `signals` imports little
    _refuse_at_the_end()
    return temporary


def discard(temporary: Path) -> None:
    """Remove a temporary file if it still exists and can be removed."""
    with suppress(OSError):
        temporary.unlink()
    temporary_files.discard(os.path.abspath(temporary))  # noqa: PTH100


def check_writable(folder: Path) -> float:
    """Make a file in a folder and remove it, and with it what processes left there that were killed a week ago.

    Returns:
        The time by the clock of the folder's file system, for `remove_old`.

    Raises:
        InterruptedError: the process is about to end.
        OSError: no file can be made.
    """
    probe = temporary_beside(folder / "probe")
    try:
        probe.touch(exist_ok=False)
        now = probe.stat().st_mtime
    finally:
        discard(probe)
    remove_old(folder, now)
    return now


def remove_old(folder: Path, now: float) -> None:
    """Remove the temporary files of a folder that nobody has written to for a week; their processes were killed.

    Those with a suffix stay: they are recordings, of which some frames may be saved.

    Args:
        folder: need not exist.
        now: as `check_writable` returns it.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _is_temporary(entry.name):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _OLD:
                    Path(entry.path).unlink()


@contextmanager
def whole_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """A block with a temporary path beside `path`, so that the file appears completely or not at all.

    It takes the name `path` when the block ends, and is removed where the block raises.

    Args:
        path: the file to write.
        suffix: as of `temporary_beside`.

    Raises:
        InterruptedError: the process is about to end.
        OSError: the file cannot take its name.
    """
    temporary = temporary_beside(path, suffix)
    try:
        yield temporary
        rename(temporary, path)
    finally:
        discard(temporary)


def rename(temporary: Path, path: Path) -> None:
    """Give a temporary file its name, once its content is on the disk: after a power cut it is whole or not there.

    Args:
        temporary: the complete file, closed.
        path: the name; a file that has it is replaced.

    Raises:
        OSError: the content cannot be written to the disk, or the file cannot take its name.
    """
    descriptor = os.open(temporary, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
    temporary.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A block with an empty temporary folder beside `path`, so that the folder appears completely or not at all.

    It takes the name `path` when the block ends, in place of a folder that has it, and is removed where the block
    raises.

    Args:
        path: the folder to write.

    Raises:
        InterruptedError: the process is about to end.
        OSError: the folder cannot be made, or cannot take its name.
    """
    temporary, former = (path.with_name(_name()) for _ in range(2))
    temporary_folders.add(os.path.abspath(temporary))  # noqa: PTH100 - as text: `signals` imports little
    _refuse_at_the_end()
    try:
        temporary.mkdir()
        yield temporary
        try:
            if path.exists():
                path.rename(former)
            temporary.rename(path)
        except BaseException:  # Ctrl-C too
            if former.exists():
                former.rename(path)
            raise
        discard_folder(former)
    finally:
        discard_folder(temporary)


def make_temporary_folder(prefix: str, parent: Path | None = None) -> Path:
    """Make an empty temporary folder; the caller must call `discard_folder` in the end.

    The first call for a prefix and a parent also removes such folders that killed processes have left.

    Args:
        prefix: the beginning of its name.
        parent: where; None is the system's temporary folder.

    Raises:
        InterruptedError: the process is about to end, and would leave the folder behind.
        OSError: it cannot be made.
    """
    import tempfile

    parent = parent or Path(tempfile.gettempdir())
    if (parent, prefix) not in _swept:
        _swept.add((parent, prefix))
        _sweep(parent, prefix)
    folder = parent / f"{prefix}{os.urandom(8).hex()}"
    temporary_folders.add(str(folder))
    _refuse_at_the_end()
    folder.mkdir(0o700)
    if (lock := _locked(folder)) is not None:
        _locks[str(folder)] = lock
    return folder


def _locked(folder: Path) -> int | None:
    """Lock a folder until the process ends, however it does; return what `os.close` takes.

    None: another process has locked it, or there are no such locks, as on Windows.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(parent: Path, prefix: str) -> None:
    """Remove temporary folders of this user whose processes no longer live; young ones may not be locked yet."""
    import shutil
    import time

    if sys.platform == "win32":
        return
    with suppress(OSError):
        for folder in list(parent.glob(f"{prefix}{'[0-9a-f]' * 16}")):
            status = folder.lstat()
            mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if mine and time.time() - status.st_mtime > _YOUNG and (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def discard_folder(folder: Path) -> None:
    """Remove a temporary folder with its contents."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    if (lock := _locks.pop(str(folder), None)) is not None:
        os.close(lock)
    temporary_folders.discard(os.path.abspath(folder))  # noqa: PTH100 - as above


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A block with a temporary folder, which is removed when the block ends; see `make_temporary_folder`."""
    folder = make_temporary_folder(prefix, parent)
    try:
        yield folder
    finally:
        discard_folder(folder)


def _name() -> str:
    return f".{os.urandom(_DIGITS // 2).hex()}{_ENDING}"


def _is_temporary(name: str) -> bool:
    digits = name[1:].removesuffix(_ENDING)
    return name == f".{digits}{_ENDING}" and len(digits) == _DIGITS and {*digits} <= {*"0123456789abcdef"}


def _refuse_at_the_end() -> None:
    if is_ending():
        raise InterruptedError("the command is about to end: nothing further is written")
