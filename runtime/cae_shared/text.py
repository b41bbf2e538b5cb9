"""Text that is safe to print, without passwords, and to paste into a shell, whatever file names it contains."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "***"  # what is shown in place of passwords

# Up to the last @, since a password may contain others, quotes, and within one pair of quotes spaces. One slash: a path
# that was made of an address; backslashes: a mistake. Lengths are bounded: a text of any bytes is masked in time that
# grows with its length.
_USER: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{1,20}:(?:/{1,2}|\\{1,4}))"
    r"(?:\S{0,2000}|[^\s:@/'\"]{1,200}:(?!\d*(?:[/\s]|$))(?:(?!://)[^'\"\n]){0,500})@"
)
# The same without a colon or without the whole scheme. `a:b@c.png` and `C:/a@b/c.png` are names of files.
_MISTYPED: Final = re.compile(r"(?<![\w./-])((?:https?|rtsps?|rtmps?)/{1,2})[^\s/:@]{0,200}:\S{0,2000}@")
_BARE_USER: Final = re.compile(
    r"(?<![\w./\\:@-])[^\s:@/\\'\"]{1,200}:(?![/\\])[^\s@/]{1,500}@(?=(?:[\w.-]{1,300}|\[[0-9a-fA-F:.]+\])(?::\d+|/))"
)
_VALUE: Final = re.compile(r"([?&][^=&\s'\"]*=)[^&\s'\"]+")
# The first of an address; names tell others.
_IN_ADDRESS: Final = re.compile(r"(://[^\s'\"#;]{0,2000}[#;][^=&#;\s'\"]{0,200}=)[^&#;\s'\"]+")
_NAMED: Final = re.compile(
    r"([#;&](?:[\w-]{0,50}(?:token|passw(?:or)?d|pwd|secret|signature|apikey)|sig|key|auth)=)[^&#;\s'\"]+",
    re.IGNORECASE,
)
_BARE_QUERY: Final = re.compile(
    r"((?:https?|rtsps?|rtmp)://[^\s'\"?]{0,2000}\?)[^\s'\"=]+=*(?![^\s'\"])", re.IGNORECASE
)

_LEADING: Final = re.compile(r"([a-z_0-9]+)(?= is |: | ')")
_QUOTED: Final = r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_ASSIGNED: Final = re.compile(rf"{_QUOTED}|(?<![\w./\\-])([a-z_0-9]+)=({_QUOTED}|\w+)")


def printable(text: str) -> str:
    r"""Escape everything in a line that a terminal could act on, such as `\x1b` in a file name or a line break."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def counted(number: int, what: str) -> str:
    """Return a number with what it counts, `1 image` or `2,000 images`; `what` is singular, its plural ends in `s`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(words: Iterable[str], last: str) -> str:
    """Return words as a list in a sentence, `a, b or c`; `last` stands before the last one: `or`, or `and`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def with_options(text: str, options: Mapping[str, str]) -> str:
    """Return a library's text as a command says it: with options instead of Python's arguments.

    `overwrite=True` becomes `--overwrite`, `temporal=False` becomes `--no-temporal`, `ext='png'` becomes `--ext png`,
    and a text that begins with an argument, as in `epoch_crops is 3: ...`, begins with `--epoch-crops is 3: ...`.
    Quoted texts, such as the names of files, stay as they are.

    Args:
        text: the text.
        options: the command's options, argument -> option, such as `{"epoch_crops": "--epoch-crops"}`.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in options:
            return found[0]
        if value == "False":
            return options[name].replace("--", "--no-", 1)
        if value == "True":
            return options[name]
        return options[name] + " " + value.strip("\"'")

    leading = _LEADING.match(text)
    if leading is not None and leading[1] in options:
        text = f"{options[leading[1]]}{text[leading.end() :]}"
    return _ASSIGNED.sub(option, text)


def options_of(parameters: Iterable[Any]) -> dict[str, str]:
    """Return the long options of a Typer command's parameters, argument -> option."""
    found = {parameter.name: [name for name in parameter.opts if name.startswith("--")] for parameter in parameters}
    return {name: names[0] for name, names in found.items() if names}


def shell_word(path: str | os.PathLike[str]) -> str:
    """Quote a path as one word for a POSIX shell: nothing in it is run or read as an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def masked(text: str) -> str:
    """Return a text with the passwords and signatures of its addresses replaced by `***`."""
    for pattern in (_USER, _MISTYPED):
        text = pattern.sub(rf"\1{HIDDEN}@", text)
    return masked_values(_BARE_QUERY.sub(rf"\1{HIDDEN}", _BARE_USER.sub(f"{HIDDEN}@", text)))


def masked_values(text: str) -> str:
    """Return a text with the values of queries, such as `?token=...`, replaced by `***`."""
    text = _VALUE.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(rf"\1{HIDDEN}", _IN_ADDRESS.sub(rf"\1{HIDDEN}", text))
