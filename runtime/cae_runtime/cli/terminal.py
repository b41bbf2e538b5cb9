"""The command's output: messages on stderr, results on stdout."""

from __future__ import annotations

import errno
import sys
from dataclasses import fields
from typing import Final

import typer

from cae_runtime.cli.option_checks import option_name
from cae_runtime.cli.options import Options
from cae_shared.text import masked, printable, with_options

_SAID_AS_ARGUMENTS: Final = {"given", "sources", "output", "model", "provider"}  # "model 'x' is damaged" stays so
OPTIONS: Final = {
    **{item.name: f"--{option_name(item.name)}" for item in fields(Options) if item.name not in _SAID_AS_ARGUMENTS},
    "window": "--window", "region": "--roi", "count": "--generate", "record": "-o",
}  # fmt: skip
"""What the library calls it -> the option."""


def tell(line: str) -> None:
    """Print a message on stderr: with options for Python's arguments, without passwords and control characters."""
    typer.echo(printable(masked(in_words(line))), err=True)


def in_words(line: str) -> str:
    """Return a message with options instead of Python's arguments."""
    return with_options(line, OPTIONS)


def print_json(document: str) -> None:
    """Print a report on stdout.

    Raises:
        OSError: stdout is closed.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed: the report has nowhere to go")
    typer.echo(document)
