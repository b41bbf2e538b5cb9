"""Progress as log lines, for when stderr is not a terminal and a bar cannot be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cae_runtime.places.address import Place
from cae_shared.text import counted

_EVERY: Final = 10.0  # seconds between two lines
_MINUTE: Final = 60
_HOUR: Final = 3600


class ProgressLog:
    """Writes a line with the remaining time every ten seconds.

    It is estimated from the first finished file or part on, which takes longer: libraries are loaded, threads started.

    Args:
        total: how many files there are.
        doing: the verb before the figures.
        tell: called with each line.
        clock: returns the time in seconds.
    """

    def __init__(
        self, total: int, doing: str, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._doing, self._tell, self._clock = total, doing, tell, clock
        self._told = clock()
        self._files = 0
        self._began = self._file_began = (0.0, 0)  # when the first file or part was done, and how many then
        self._file: Place | None = None

    def on_file(self) -> None:
        """Count a finished file."""
        self._files += 1
        if self._files == 1:
            self._began = self._clock(), 1
        if self._files < self._total and self._is_due():
            left = self._left(self._began, self._files, self._total)
            self._tell(f"{self._doing}: {self._files} of {self._total} files{left}")

    def on_frame(self, video: Place, done: int, total: int | None) -> None:
        """Report how many frames of a video are done, and about how many there are."""
        self._tell_of(video, done, total, f"{f'{done} of ' if total else ''}{counted(total or done, 'frame')}")

    def on_part(self, picture: Place, done: int, total: int) -> None:
        """Report how many parts of a picture are done, and how many there are; parts may have any size."""
        self._tell_of(picture, done, total, f"{100 * done // total} %")

    def _tell_of(self, file: Place, done: int, total: int | None, figures: str) -> None:
        if file != self._file:
            self._file, self._file_began = file, (self._clock(), done)
        if (total is None or done < total) and self._is_due():
            left = self._left(self._file_began, done, total)
            self._tell(f"{self._doing} {str(file)!r}: {figures}{left}")

    def _is_due(self) -> bool:
        now = self._clock()
        if now - self._told < _EVERY:
            return False
        self._told = now
        return True

    def _left(self, began: tuple[float, int], done: int, total: int | None) -> str:
        taken, since = self._clock() - began[0], done - began[1]
        if not total or since < 1 or not taken:
            return ""
        seconds = taken / since * (total - done)
        if seconds < _MINUTE:
            return f", about {seconds:.0f} s left"
        if seconds < _HOUR:
            return f", about {seconds / _MINUTE:.0f} min left"
        return f", about {seconds / _HOUR:.1f} h left"
