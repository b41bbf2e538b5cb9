"""Progress: bars on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from cae_runtime.jobs.progress_log import ProgressLog
from cae_runtime.places.address import Place
from cae_shared.text import printable

if TYPE_CHECKING:
    import rich.progress

_SOON: Final = 1.0  # seconds; a picture that takes no longer has no bar


class Progress:
    """A progress bar for the files, and one for the current video or large picture.

    If stderr is not a terminal, a line with the remaining time every ten seconds.

    Args:
        total: how many files there are.
        doing: the verb before the bar.
    """

    def __init__(self, total: int, doing: str = "cleaning") -> None:
        self._total, self._doing = total, doing
        self._bar: rich.progress.Progress | None = None
        self._log = ProgressLog(total, doing, lambda line: print(printable(line), file=sys.stderr, flush=True))

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._done = 0
            self._files = self._bar.add_task(self._doing, total=self._total, figures=f"0/{self._total}")
            self._parts = self._bar.add_task("", visible=False, figures="")
            self._file: Place | None = None
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_file(self) -> None:
        """Count a finished file."""
        if self._bar is None:
            self._log.on_file()
            return
        self._done += 1
        self._bar.update(self._files, completed=self._done, figures=f"{self._done}/{self._total}")
        self._bar.update(self._parts, visible=False)

    def on_frame(self, video: Place, done: int, total: int | None) -> None:
        """Report how many frames of a video are done, and about how many there are."""
        if self._bar is None:
            self._log.on_frame(video, done, total)
            return
        total = None if total is None else max(total, done)
        self._show(self._bar, video, done, total, f"{done}/{'?' if total is None else total}", after=0.0)

    def on_part(self, picture: Place, done: int, total: int) -> None:
        """Report how many parts of a picture are done, and how many there are; parts may have any size."""
        if self._bar is None:
            self._log.on_part(picture, done, total)
            return
        self._show(self._bar, picture, done, total, f"{100 * done // total} %", after=_SOON)

    def _show(
        self, bar: rich.progress.Progress, file: Place, done: int, total: int | None, figures: str, *, after: float
    ) -> None:
        """Move the bar of a file, which appears `after` seconds."""
        if file != self._file:
            self._file, self._began = file, time.monotonic()
            bar.reset(self._parts, description=printable(file.name), visible=False)
        bar.update(self._parts, completed=done, total=total, figures=figures)
        if time.monotonic() - self._began >= after:
            bar.update(self._parts, visible=True)
            bar.update(self._files, visible=self._total > 1)
