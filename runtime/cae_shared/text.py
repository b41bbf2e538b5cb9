"""Text that is safe to print and to paste into a shell, whatever file names it contains."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection
from typing import Final

_SETTING: Final = re.compile(r"([a-z_0-9]+)(?= is | ')")


def printable(text: str) -> str:
    r"""Escape everything in a line that a terminal could act on, such as `\x1b` in a file name or a line break."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def with_option(text: str, names: Collection[str]) -> str:
    """Return an error's text as a command says it: a setting that the text begins with is named as its option.

    Args:
        text: such as `epoch_crops is 3: it must be at least one batch (64)`, which becomes `--epoch-crops is 3: ...`.
        names: the settings that are options too, such as `epoch_crops`.
    """
    setting = _SETTING.match(text)
    if setting is None or setting[1] not in names:
        return text
    return f"--{setting[1].replace('_', '-')}{text[setting.end() :]}"


def shell_word(path: str | os.PathLike[str]) -> str:
    """Quote a path as one word for a POSIX shell: nothing in it is run or read as an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
