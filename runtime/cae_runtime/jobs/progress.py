"""Progress: bars on a terminal, lines in a log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cae_runtime.jobs.progress_log import ProgressLog
from cae_shared.text import printable

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """A progress bar for the files, and one for the frames of the current video.

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
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._files = self._bar.add_task(self._doing, total=self._total)
            self._frames = self._bar.add_task("", visible=False)
            self._video: Path | None = None
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
        self._bar.advance(self._files)
        self._bar.update(self._frames, visible=False)

    def on_frame(self, video: Path, done: int, total: int | None) -> None:
        """Report how many frames of a video are done, and about how many there are."""
        if self._bar is None:
            self._log.on_frame(video, done, total)
            return
        if video != self._video:
            self._video = video
            self._bar.reset(self._frames, description=printable(video.name), visible=True)
            self._bar.update(self._files, visible=self._total > 1)
        self._bar.update(self._frames, completed=done, total=None if total is None else max(total, done))
