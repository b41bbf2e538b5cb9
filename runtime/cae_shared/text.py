"""Text that is safe to print, whatever names of files are in it."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a line with everything escaped that a terminal may act on: `\x1b` in a file's name, or a line break."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
