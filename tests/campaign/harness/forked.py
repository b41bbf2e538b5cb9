"""Commands in forked processes, with signals as the installed scripts heed them: started in milliseconds."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO, cast


class Forked:
    """A command that runs in a fork of this process, which must have no threads.

    Args:
        package: `cae_runtime`, `cae_train` or `cae_export`; import what it needs before, so that starts are quick.
        words: what is typed after the command's name.
        cwd: the folder that it runs in.
        log: the file that its stderr goes to, and its stdout unless `before` sends it elsewhere.
        before: called in the process before the command, to change its limits, environment or streams.
    """

    def __init__(
        self,
        package: str,
        words: Sequence[object],
        cwd: Path,
        log: Path,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.log = log
        main = importlib.import_module(f"{package}.__main__").main
        gc.collect()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        self.code: int | None = None
        self.used: resource.struct_rusage | None = None
        self.began = time.monotonic()
        if self.pid == 0:
            _become(main, [package, *map(os.fsdecode, map(_text, words))], cwd, log, before)

    def ended(self) -> bool:
        """Whether it has ended.

        `code` is its exit code then, or the negative number of the signal that ended it, and `used` what it took.
        """
        if self.code is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.used = os.waitstatus_to_exitcode(status), used
        return self.code is not None

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came. Otherwise the process is ended by force."""
        if not self.ends_within(self.began + seconds - time.monotonic()):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return False
        return True

    def ends_within(self, seconds: float) -> bool:
        """Wait until it ends, or for so many seconds; return whether it has ended."""
        if not self.ended():
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], max(0.0, seconds))
            finally:
                os.close(descriptor)
        return self.ended()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        if not self.ended():
            os.kill(self.pid, number)

    @property
    def said(self) -> bytes:
        """What it wrote to stdout and stderr."""
        return self.log.read_bytes() if self.log.exists() else b""


def _text(word: object) -> str | bytes | os.PathLike[str]:
    return word if isinstance(word, str | bytes | os.PathLike) else str(word)


def _opened(number: int, mode: str) -> TextIO | None:
    """Return a standard stream as Python opens it when a process starts: None if it is closed."""
    try:
        return cast(TextIO, open(number, mode, closefd=False))
    except OSError:
        return None


def _become(
    main: Callable[[], None], argv: list[str], cwd: Path, log: Path, before: Callable[[], object] | None
) -> None:
    """Run the command in this process, which has just been forked, and end it."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(cwd)
        given, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(given, 0)
        os.dup2(written, 1)
        os.dup2(written, 2)
        sys.argv = argv
        if before is not None:
            before()
        for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            setattr(sys, name, _opened(number, mode))
        main()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1 if not isinstance(sys.exception(), KeyboardInterrupt) else 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):  # it is closed
                continue
        os._exit(code)
