"""The command's output: messages on stderr, results on stdout."""

from __future__ import annotations

import errno
import sys

import typer

from cae_shared.text import printable


def tell(line: str) -> None:
    """Print a message on stderr; control characters are escaped."""
    typer.echo(printable(line), err=True)


def print_json(document: str) -> None:
    """Print a report on stdout.

    Raises:
        OSError: stdout is closed.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed: the report has nowhere to go")
    typer.echo(document)
