"""Source names of `cae-run`: files, folders, addresses, and patterns that no shell has expanded."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from cae_runtime.errors import UsageError
from cae_runtime.io.formats import PIPE
from cae_runtime.places.address import WEB, Address, Place, is_address, place_of


def expanded(sources: Sequence[str]) -> list[Place]:
    """Return the sources, with the patterns among them expanded; `-` comes as a path of this name.

    A name that exists is that file, even if it looks like a pattern (`IMG[1].jpg`). In other names `*`, `?`, `[...]`
    and `**` are expanded as in shells, in alphabetical order; in addresses too, except web addresses.

    Raises:
        UsageError: a pattern matches nothing, an address is of another kind, or a store cannot be listed.
        MissingExtraError: a store needs an extra that is not installed.
    """
    found: list[Place] = []
    for source in sources:
        if source == PIPE or not source or os.path.lexists(source):
            found.append(Path(source))
        elif isinstance(place := place_of(source, "source"), Address):
            found += _in_store(place)
        elif not glob.has_magic(source):
            found.append(place)
        else:
            matches = sorted(glob.glob(_with_literal_folders(source), recursive=True))  # noqa: PTH207 - of what was typed
            if not matches:
                raise UsageError(f"source {source!r} matches no file")
            found += map(Path, matches)
    return found


def _in_store(address: Address) -> list[Address]:
    """Return an address, or what it matches as a pattern."""
    from cae_runtime.places import store
    from cae_runtime.places.reasons import StoreError

    store.check_extra(address)
    if address.protocol in WEB or not glob.has_magic(address.key):
        return [address]
    try:
        if store.kind_of(address) != "missing":
            return [address]
        matches = store.matching(address)
    except StoreError as e:
        raise UsageError(f"source {str(address)!r} cannot be accessed: {e.strerror}") from e
    if not matches:
        raise UsageError(f"source {str(address)!r} matches no file")
    return matches


def checked_output(output: str) -> str:
    """Check an output, and return it.

    Raises:
        UsageError: it is an address of another kind, or of the web.
        MissingExtraError: its store needs an extra that is not installed.
    """
    if is_address(output) and isinstance(place := place_of(output, "output"), Address):
        from cae_runtime.places import store

        store.check_extra(place)
        store.check_writable(place)
    return output


def _with_literal_folders(pattern: str) -> str:
    """Escape the leading folders of a pattern that exist literally."""
    folder, name = Path(pattern).parent, Path(pattern).name
    if folder == Path(pattern):
        return pattern
    if os.path.lexists(folder):
        return str(Path(glob.escape(str(folder))) / name)
    return str(Path(_with_literal_folders(str(folder))) / name)
