"""Text that is safe to print and to paste into a shell, whatever file names it contains."""

from __future__ import annotations

import os
import shlex


def printable(text: str) -> str:
    r"""Escape everything in a line that a terminal could act on, such as `\x1b` in a file name or a line break."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shell_word(path: str | os.PathLike[str]) -> str:
    """Quote a path as one word for a POSIX shell: nothing in it is run or read as an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
