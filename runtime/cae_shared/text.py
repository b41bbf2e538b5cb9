"""Text that is safe to print, and to paste into a shell, whatever names of files are in it."""

from __future__ import annotations

import os
import shlex


def printable(text: str) -> str:
    r"""Return a line with everything escaped that a terminal may act on: `\x1b` in a file's name, or a line break."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shell_word(path: str | os.PathLike[str]) -> str:
    """Return a path as one word of a command for a POSIX shell: nothing in it is run or taken for an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
