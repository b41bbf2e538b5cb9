"""Source names of `cae-run`: files, folders, and patterns that no shell has expanded."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from cae_runtime.errors import UsageError
from cae_runtime.io.formats import PIPE


def expanded(sources: Sequence[str]) -> list[str]:
    """Expand the patterns among the sources.

    A name that exists is that file, even if it looks like a pattern (`IMG[1].jpg`). In other names `*`, `?`, `[...]`
    and `**` are expanded as in shells, in alphabetical order.

    Raises:
        UsageError: a pattern matches nothing.
    """
    found: list[str] = []
    for source in sources:
        if source == PIPE or os.path.lexists(source) or not glob.has_magic(source):
            found.append(source)
            continue
        matches = sorted(glob.glob(_with_literal_folders(source), recursive=True))  # noqa: PTH207 - of what was typed
        if not matches:
            raise UsageError(f"source {source!r} matches no file")
        found += matches
    return found


def _with_literal_folders(pattern: str) -> str:
    """Escape the leading folders of a pattern that exist literally."""
    folder, name = Path(pattern).parent, Path(pattern).name
    if folder == Path(pattern):
        return pattern
    if os.path.lexists(folder):
        return str(Path(glob.escape(str(folder))) / name)
    return str(Path(_with_literal_folders(str(folder))) / name)
