"""Turns the expected failures of a command into one line on stderr: errors, missing extras, signals."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NoReturn

from cae_shared.signals import exit_code, interruptible, is_quiet
from cae_shared.text import masked, printable, with_options

_LETTERS_MOST: Final = 4000  # of a message


def end_with(name: str, error: Exception, code: int, options: Mapping[str, str]) -> NoReturn:
    """End a command because of an expected error: one line on stderr, without passwords, and an exit code.

    Args:
        name: the command's name.
        error: what the library raised.
        code: the exit code.
        options: the command's options, see `with_options`.
    """
    told = masked(with_options(str(error), options))
    if len(told) > _LETTERS_MOST:  # a name or value in a file may have any length
        told = f"{told[: _LETTERS_MOST // 2]} ... {told[-_LETTERS_MOST // 2 :]}"
    sys.stderr.write(f"{printable(f'{name}: {told}')}\n")
    sys.exit(code)


@contextmanager
def importing_extra(name: str, extra: str, wrong_usage: type[Exception]) -> Iterator[None]:
    """A block that imports what only an extra installs; where it is missing, the error says how to install it.

    Args:
        name: the command's name.
        extra: the extra's name.
        wrong_usage: the error to raise.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        if (e.name or "").startswith("cae_"):
            raise  # a mistake of this program
        raise wrong_usage(
            f"{name} needs its extra: pip install 'cae-toolkit[{extra}]' (in a checkout: pip install -e '.[{extra}]') "
            f"({e.name} is missing)"
        ) from e


@contextmanager
def ended_in_order(name: str) -> Iterator[None]:
    """A block that a signal ends in order, so that no temporary file is left, with a line and its exit code.

    Args:
        name: the command's name.
    """
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        if not is_quiet():
            sys.stderr.write(f"{name}: interrupted\n")
        sys.exit(exit_code())
