"""Start and end of a command: signals, standard streams, and system errors as one line."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from cae_shared.signals import end_without_threads, heed

EXIT_REFUSED = 1
_STDOUT = "the standard output cannot be written: "
_NO_THREAD = "no further thread can be started: allow more memory (ulimit -v) or more processes (ulimit -u)"
_MORE_FILES = "; allow more open files, such as by ulimit -n 1024"


def run_command(name: str, work: Callable[[], None], *, quiet: bool = False) -> None:
    """Do the work of a console script.

    Args:
        name: the command's name.
        work: does heavy imports itself, and calls `sys.exit` if its exit code is not 0.
        quiet: do not say that a signal has ended the command, since another process does.

    Raises:
        SystemExit: with the exit code of `work`; with 1 and a line on stderr if memory, disk space or open files run
            out, or a library does not load.
    """
    try:
        _open_standard_streams()
        heed("" if quiet else name)
        try:
            work()
        except SystemExit as e:
            if isinstance(e.code, int):
                _flush_all()
                end_without_threads(e.code)
            raise
        finally:
            if sys.stdout is not None:
                _flush(sys.stdout)
    except (OSError, MemoryError, ImportError, RuntimeError) as e:
        if isinstance(e, ModuleNotFoundError) or (isinstance(e, RuntimeError) and not _of_the_system(e)):
            raise  # a bug of this program
        told = reason(e)
        drop_stdout()
        try:
            sys.stderr.write(f"{name}: {told}\n")
            sys.stderr.flush()
        except OSError:  # its terminal is closed
            _discard(2)
        sys.exit(EXIT_REFUSED)


def require_address_space(least: int) -> None:
    """Stop if the process may not map enough memory, because native libraries would crash.

    Args:
        least: bytes that the libraries need to start.

    Raises:
        MemoryError: the limit is lower.
    """
    if sys.platform == "win32":  # it has no such limit
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < least:
        raise MemoryError(
            f"the address space is limited to {limit // 2**20} MiB, {least // 2**20} MiB are needed: raise ulimit -v"
        )


def keep_matplotlib_out_of_home() -> None:
    """Give matplotlib a temporary cache folder, unless the user already has one.

    Matplotlib writes a list of fonts into the home folder, also when libraries import it. Call this before any import.
    """
    if "MPLCONFIGDIR" in os.environ or os.path.isdir(os.path.expanduser("~/.cache/matplotlib")):  # noqa: PTH111, PTH112
        return
    import atexit

    from cae_shared.temporary import discard_folder, make_temporary_folder

    folder = make_temporary_folder("cae-matplotlib-")
    os.environ["MPLCONFIGDIR"] = str(folder)
    atexit.register(discard_folder, folder)


def reason(error: BaseException) -> str:
    """Return the cause of a system error, or of a library that does not load, as one line."""
    before = _STDOUT if _writes_stdout(error) else ""
    while error.__cause__ is not None:
        error = error.__cause__
    kind = "there is not enough memory" if isinstance(error, MemoryError) else type(error).__name__
    text = getattr(error, "strerror", None) or str(error) or kind
    if isinstance(error, RuntimeError) and "start new thread" in text:
        text = _NO_THREAD
    more = _MORE_FILES if getattr(error, "errno", None) == errno.EMFILE else ""
    return f"{before}{' '.join(text.split())}{more}"


def _flush_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _flush(stream)


def _flush(file: TextIO) -> None:
    file.flush()


def _writes_stdout(error: BaseException) -> bool:
    """Return whether an error comes from a function that writes `file`, as `click.echo` does, and that is stdout."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and sys.stdout is not None and trace.tb_frame.f_locals.get("file") is sys.stdout


def _of_the_system(error: RuntimeError) -> bool:
    """Return whether a RuntimeError means that no thread could be started or a library ran out of memory."""
    return "start new thread" in str(error) or "llocate memory" in str(error)


def _open_standard_streams() -> None:
    """Open /dev/null for closed standard streams, so that no other file gets their numbers.

    Characters that the console's encoding lacks are written as Python escape sequences.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Discard what stdout still buffers: Python would try again to write it at exit."""
    if sys.stdout is not None and sys.stdout is sys.__stdout__:
        _discard(1)


def _discard(number: int) -> None:
    """Make a standard stream write to nowhere: what it still buffers would make Python end with exit code 120."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError as e:
        if e.errno == errno.EMFILE:  # no more files can be opened
            os.close(number)
            os.open(os.devnull, os.O_WRONLY)
        return
    if nowhere != number:
        os.dup2(nowhere, number)  # the number is never free for a file of another thread
        os.close(nowhere)
