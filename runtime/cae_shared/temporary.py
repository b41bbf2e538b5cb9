"""Hidden temporary files that become an output when they are whole, and that no end of the process leaves behind."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cae_shared.signals import temporary_files


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Return an unused hidden name in the folder of `path`; whoever asks for it calls `discard` at last.

    Args:
        path: the output that the file is to become, by `Path.replace`.
        suffix: what the name ends in after `.partial`, for writers that take the format from it.
    """
    temporary = path.with_name(f".{os.urandom(8).hex()}.partial{suffix}")
    temporary_files.add(os.path.abspath(temporary))  # noqa: PTH100 - as text: `signals` imports little
    return temporary


def discard(temporary: Path) -> None:
    """Remove a temporary file where it is still there and can be removed."""
    with suppress(OSError):
        temporary.unlink()
    temporary_files.discard(os.path.abspath(temporary))  # noqa: PTH100
