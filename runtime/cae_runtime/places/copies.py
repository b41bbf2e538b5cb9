"""Context managers that give local files for files in a store: temporary copies to read, or to write and upload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cae_runtime.places import store
from cae_runtime.places.address import Address, Place
from cae_runtime.places.uploads import Upload
from cae_shared.temporary import temporary_folder

_BYTES_MAX = 2**35


@contextmanager
def local_copy(place: Place, most: int = _BYTES_MAX) -> Iterator[Path]:
    """Yield a local file with the content of a file; for a file in a store, a temporary copy.

    Args:
        place: the file.
        most: the largest allowed size of the file, in bytes.

    Raises:
        StoreError: the file cannot be copied.
    """
    with _local_path(place) as here:
        if isinstance(place, Address):
            store.download(place, here, most)
        yield here


@contextmanager
def local_output(place: Place) -> Iterator[Path]:
    """Yield a local path to write to; at the end of the block, a file there is copied to the store.

    Args:
        place: where the file goes.

    Raises:
        StoreError: the file cannot be copied.
    """
    with _local_path(place) as here:
        yield here
        if isinstance(place, Address) and here.exists():
            Upload(here, place).run()


@contextmanager
def _local_path(place: Place) -> Iterator[Path]:
    """A block with the path of a local file, or for one of a store with a path in a temporary folder."""
    if isinstance(place, Path):
        yield place
        return
    with temporary_folder("cae-copy-") as folder:
        yield folder / f"copy{place.suffix}"
