"""What this toolkit logs, shown on stderr by its commands: progress always, details with `--verbose`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from cae_shared.text import printable, with_options

PACKAGES = ("cae_runtime", "cae_train", "cae_export", "cae_shared")


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: native libraries are silenced by replacing it for a while."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__()
        self._options = options

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(with_options(record.getMessage(), self._options))
        if record.levelno < logging.INFO:
            text = f"{record.relativeCreated / 1000:8.2f} s {record.name}: {text}"
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")


def log_to_stderr(verbose: bool = False, options: Mapping[str, str] | None = None) -> None:
    """Show the messages of this toolkit's packages on stderr, without control characters.

    Args:
        verbose: also messages of level DEBUG, each with the seconds since the start and the name of its module.
        options: the command's options, which messages then name; see `with_options`.
    """
    handler = _Stderr(options or {})
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        logger.propagate = False
