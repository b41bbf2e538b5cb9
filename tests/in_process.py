"""A command run in this process, with the streams, the working folder and the exit code of a process of its own.

Starting Python and its libraries for every case would take most of the suite's time. Real processes test what concerns
the process itself: its start, signals, closed streams, the environment.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch


def run_here(
    package: str, words: Sequence[object], stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the console script of a package.

    Args:
        package: `cae_runtime`, `cae_train` or `cae_export`.
        words: what is typed after the command's name.
        stdin: what the command reads from stdin.
        cwd: the folder that it runs in.

    Returns:
        Its exit code, and all that Python and native libraries wrote to stdout and stderr.
    """
    main = importlib.import_module(f"{package}.__main__").main
    argv = [package, *(str(word) for word in words)]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        with (
            patch("cae_shared.command.heed"),  # signals stay pytest's
            patch.dict(os.environ),
            patch.object(sys, "argv", argv),
            patch.object(tempfile, "tempdir", tempfile.tempdir),
            chdir(cwd or Path.cwd()),
            _streams(given, out, err),
        ):
            code = _exit_code(main)
        return subprocess.CompletedProcess(argv, code, _content(out), _content(err))


def text_of(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    """Return what `run_here` returns, with its output as text."""
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as e:
        if isinstance(e.code, str):
            sys.stderr.write(f"{e.code}\n")
            return 1
        return e.code or 0
    finally:
        gc.unfreeze()  # `cae-run` freezes what it leaves at its end
        gc.enable()
    return 0


@contextmanager
def _streams(*files: BinaryIO) -> Iterator[None]:
    """Put files in the place of stdin, stdout and stderr, for Python and for native libraries."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(number) for number in range(3)]
    try:
        for number, file in enumerate(files):
            file.flush()
            os.dup2(file.fileno(), number)
        opened = [
            io.TextIOWrapper(open(number, mode, closefd=False), encoding="utf-8", write_through=number == 2)  # noqa: SIM115
            for number, mode in enumerate(("rb", "wb", "wb"))
        ]
        with patch.multiple(sys, stdin=opened[0], stdout=opened[1], stderr=opened[2]):
            try:
                yield
            finally:
                for stream in opened:
                    stream.close()
    finally:
        for number, saved in enumerate(kept):
            os.dup2(saved, number)
            os.close(saved)


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
