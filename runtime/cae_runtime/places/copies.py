"""Blocks with a local file in the place of one in a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cae_runtime.places import store
from cae_runtime.places.address import Place
from cae_runtime.places.uploads import Upload
from cae_shared.temporary import temporary_folder

_BYTES_MAX = 2**35


@contextmanager
def local_copy(place: Place, most: int = _BYTES_MAX) -> Iterator[Path]:
    """A block with a local file that has the content of a file; of one of a store, a temporary copy.

    Args:
        place: the file.
        most: bytes that it may have.

    Raises:
        StoreError: it cannot be copied.
    """
    if isinstance(place, Path):
        yield place
        return
    with temporary_folder("cae-copy-") as folder:
        here = folder / f"copy{place.suffix}"
        store.download(place, here, most)
        yield here


@contextmanager
def local_output(place: Place) -> Iterator[Path]:
    """A block with a local path to write to; if a file is there in the end, it is copied to the store.

    Args:
        place: where the file goes.

    Raises:
        StoreError: it cannot be copied.
    """
    if isinstance(place, Path):
        yield place
        return
    with temporary_folder("cae-copy-") as folder:
        here = folder / f"copy{place.suffix}"
        yield here
        if here.exists():
            Upload(here, place).run()
