"""Repeats requests to a store after temporary errors, with growing pauses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from cae_runtime.errors import CaeRuntimeError
from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError, reason_of
from cae_shared.signals import signals_so_far

_log = logging.getLogger(__name__)

TRIES: Final = 5
FIRST_PAUSE = 0.5  # seconds; each further one is twice as long
_OWN: Final = frozenset({"gs", "az"})  # their packages retry by themselves
_LONGEST_PAUSE: Final = 60.0  # seconds; the longest that a store may ask for
_LOOK_EVERY: Final = 0.1

Result = TypeVar("Result")


def tried(work: Callable[[], Result], address: Address) -> Result:
    """Return the result of `work`, which is repeated after temporary errors, up to `TRIES` calls in all.

    After Ctrl-C there is no further try.

    Args:
        work: calls a store's file system.
        address: the file or folder of the request, for messages.

    Raises:
        StoreError: the last try failed, or an error that is not temporary occurred.
    """
    tries = 1 if address.protocol in _OWN else TRIES
    for number in range(1, tries + 1):
        try:
            return work()
        except (StoreError, CaeRuntimeError, MemoryError):
            raise
        except Exception as e:  # each store has errors of its own
            reason = reason_of(e, address)
            _log.debug("%s: %s (try %s of %s)", address, reason.text, number, tries)
            if not reason.passing:
                raise StoreError(reason.text, reason.number) from e
            pause = max(FIRST_PAUSE * 2 ** (number - 1), min(reason.wait, _LONGEST_PAUSE))
            if number == tries or not _paused(pause):
                times = f", also at the last of {number} tries" if number > 1 else ""
                raise StoreError(f"{reason.text}{times}", reason.number) from e
    raise AssertionError


def _paused(seconds: float) -> bool:
    """Wait; return False at once if a signal arrives meanwhile, or had arrived before."""
    until, before = time.monotonic() + seconds, signals_so_far()
    while (left := until - time.monotonic()) > 0:
        if signals_so_far() > before or before:
            return False
        time.sleep(min(left, _LOOK_EVERY))
    return not before
