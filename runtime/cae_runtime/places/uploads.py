"""Uploads files to stores; large ones in parts."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.retries import tried
from cae_runtime.places.store import content_type, system_of, write
from cae_shared.signals import signals_so_far

_PART_BYTES: Final = 2**25
_WHOLE_MAX: Final = 2**26  # bytes; larger files go in parts


class Upload:
    """The upload of a file to a store. A large file goes in parts, which are discarded unless all of them arrive.

    Args:
        path: the local file.
        address: where it goes.
    """

    def __init__(self, path: Path, address: Address) -> None:
        self._path, self._address = path, address
        self._target: Any = None
        self._stopped = False

    def run(self) -> None:
        """Copy the file.

        Raises:
            StoreError: the file cannot be written, or the upload was stopped; then nothing of it is in the store.
        """
        if self._path.stat().st_size <= _WHOLE_MAX:
            write(self._address, self._path.read_bytes())
        else:
            tried(self._in_parts, self._address)

    def stop(self) -> None:
        """Stop at once and discard the uploaded parts; call this from another thread."""
        self._stopped = True
        self._discard()

    def _in_parts(self) -> None:
        options = content_type(self._address) if self._address.protocol == "s3" else {}
        system, before = system_of(self._address), signals_so_far()
        # `open` would also keep the file in a list, for a transaction that never comes.
        self._target = system._open(self._address.in_store, "wb", block_size=_PART_BYTES, autocommit=False, **options)
        if self._address.protocol == "s3":
            self._ask_again_for_parts()
        try:
            with self._path.open("rb") as file:
                while part := file.read(_PART_BYTES):
                    self._check(before)
                    self._target.write(part)
            self._target.flush(force=True)
            self._check(before)
            self._target.commit()
        except BaseException:
            self._discard()
            self._check(before)
            raise
        finally:
            self._close()

    def _ask_again_for_parts(self) -> None:
        """Give each part its own retries, so that a failed part does not restart the whole upload."""
        ask = self._target._call_s3

        def call(method: str, *options: Any, **further: Any) -> Any:
            work = partial(ask, method, *options, **further)
            return tried(work, self._address) if method == "upload_part" else work()

        self._target._call_s3 = call

    def _check(self, before: int) -> None:
        if self._stopped or signals_so_far() > before:
            raise StoreError("it was interrupted")

    def _discard(self) -> None:
        with suppress(Exception):  # the store may be gone
            if self._target is not None:
                self._target.discard()

    def _close(self) -> None:
        """Close the file in the store. A failed one must not send the rest of its buffer: Azure would take the file."""
        self._target.forced = True  # as after `flush(force=True)`
        with suppress(Exception):
            self._target.close()
