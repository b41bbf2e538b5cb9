"""Restarts in forked child processes: threads are not copied by a fork, and locks may stay held forever."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _Renewed(Protocol):
    def after_fork(self) -> None: ...


_known: weakref.WeakSet[_Renewed] = weakref.WeakSet()


def renew_after_fork(thing: _Renewed) -> None:
    """Call `thing.after_fork()` in every child that this process forks, as long as the object exists."""
    _known.add(thing)


def _in_the_child() -> None:
    for thing in list(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)
