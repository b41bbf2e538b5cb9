"""Reads and cleans the picture of a window in a background thread: first the visible part, then the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from cae_runtime.errors import NO_MEMORY
from cae_runtime.io.image_files import Picture, header_of, memory_errors, read_file
from cae_runtime.jobs.pictures import first_of
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer
from cae_runtime.view.layer import Layer, layer_of
from cae_runtime.view.tiles import Box

_NO_MEMORY: Final = f"cannot be shown: {NO_MEMORY}"


class Wanted(NamedTuple):
    """What the window shows now.

    Attributes:
        seen: the parts to clean first, in order, in pixels of the shown layer (`full` or `small`).
        fit: width and height in pixels if the whole picture is shown smaller than it is; otherwise None.
    """

    seen: tuple[Box, ...]
    fit: tuple[int, int] | None


_Read = tuple[Picture, list[Note]]


class _StoppedError(Exception):
    """The user has switched to another picture or model."""


class Background:
    """The background thread; `close` ends it.

    Attributes:
        full: the picture at full size, once it is read.
        small: the picture at the size of the window, if the whole picture is shown.
        failed: why the picture cannot be shown; otherwise empty.
        version: a number that changes with every piece of finished work.
    """

    def __init__(self) -> None:
        self.full: Layer | None = None
        self.small: Layer | None = None
        self.failed = ""
        self.version = 0
        self._path: Path | None = None
        self._read: _Read | None = None
        self._restorer: Restorer | None = None
        self._wanted = Wanted((), None)
        self._closed = False
        self._number = 0  # counts the pictures and models that were opened
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="cae-view", daemon=True)
        self._thread.start()

    def open(self, path: Path, restorer: Restorer) -> None:
        """Switch to a picture, or clean the current one with another model."""
        with self._change:
            if path != self._path:
                self._read = None
            self._path, self._restorer, self._number = path, restorer, self._number + 1
            self.full = self.small = None
            self.failed = ""
            self._did_something()

    @property
    def notes(self) -> list[Note]:
        """What a user should know about the picture."""
        read, full = self._read, self.full
        return [*read[1], *full.notes] if read and full else []

    def want(self, wanted: Wanted) -> None:
        """Set what the window shows."""
        with self._change:
            if wanted != self._wanted:
                self._wanted = wanted
                self._change.notify()

    def close(self) -> None:
        """End the thread after its current tile."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _did_something(self) -> None:
        self.version += 1
        self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._may_work())
                if self._closed:
                    return
                number = self._number
            reason, work = "", None
            try:
                with memory_errors():
                    work = self._work(number)
            except _StoppedError:
                continue
            except MemoryError:
                reason = _NO_MEMORY
            except Exception as e:  # any error: if this thread ended, the window would wait forever
                reason = str(e)
            with self._change:
                if number == self._number:
                    if work is not None:
                        work()
                    self.failed = reason
                    self._did_something()

    def _may_work(self) -> bool:
        """Whether there is something to do."""
        if self._path is None or self.failed:
            return False
        full, small, fit = self.full, self.small, self._wanted.fit
        if full is None or not full.complete:
            return True
        return fit is not None and (small is None or small.size != fit or not small.taken)

    def _work(self, number: int) -> Callable[[], None] | None:
        """Do the next piece of work; return a function that stores its result, to be called if it is still wanted."""
        restorer, wanted, full, small = self._restorer, self._wanted, self.full, self.small
        assert restorer is not None and self._path is not None  # noqa: S101, PT018 - `open` was called
        if full is None:
            picture, notes = self._read or _read(self._path)
            opened = layer_of(picture, restorer)
            return lambda: self._opened((picture, notes), opened)
        if wanted.fit is not None and (small is None or small.size != wanted.fit):
            made = full.smaller(wanted.fit)
            return lambda: setattr(self, "small", made)
        shown = full if wanted.fit is None or small is None else small
        for layer, seen in (*((shown, box) for box in wanted.seen), (shown, None), (full, None)):
            if tile := layer.next_tile(seen):
                layer.clean(tile)
                return None
        if not full.complete:
            full.finish(lambda *_: self._go_on(number))
        elif small is not None:
            small.take(full)
        return None

    def _opened(self, read: _Read, full: Layer) -> None:
        self._read, self.full = read, full

    def _go_on(self, number: int) -> None:
        if self._closed or number != self._number:
            raise _StoppedError


def _read(path: Path) -> _Read:
    data = read_file(path)
    return first_of(data, header_of(data))
