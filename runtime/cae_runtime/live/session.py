"""Live cleaning: the newest frame of a camera goes through the filter and the network to all outputs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture, CapturedFrame
from cae_runtime.live.overlay import ViewState
from cae_runtime.live.rate_control import RateController
from cae_runtime.live.recorder import Recorder
from cae_runtime.live.settings import LiveSettings
from cae_runtime.live.stats import LiveFigures
from cae_runtime.live.viewer import Viewer
from cae_runtime.live.virtual_camera import VirtualCamera
from cae_runtime.tasks.strength_blending import blended
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.video.frame_cleaner import FrameCleaner
from cae_shared.text import counted

_POLL: Final = 0.02  # seconds to wait for a frame before window events are handled


class LiveSession:
    """A live run in progress.

    Args:
        settings: of the run.
        capture: gives the frames.
        pace: chooses the model.
        view: what the window shows; its keys change it.
        screen: the window, if there is one.
        virtual: where the cleaned frames go too, if anywhere.
        tell: called with each message.
        report: called once a second with the figures, and once at the end.
    """

    def __init__(
        self,
        settings: LiveSettings,
        *,
        capture: Capture,
        pace: RateController,
        view: ViewState,
        screen: Viewer | None,
        virtual: VirtualCamera | None,
        tell: Callable[[str], None],
        report: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self._settings, self._capture, self._pace, self._view = settings, capture, pace, view
        self._screen, self._virtual, self._tell, self._report = screen, virtual, tell, report
        self._told_too_slow = False
        self._cleaner = FrameCleaner(settings.temporal)
        # The shown frame, fully cleaned, and the strength at which it is shown.
        self._last: tuple[CapturedFrame, FrameArray, float] | None = None
        self._figures = LiveFigures(pace.model)
        self._recorder: Recorder | None = None
        self._worker = ThreadPoolExecutor(1, "cae-live")  # the window stays responsive while a frame is cleaned
        self._size = (0, 0)
        self._goes_on = True
        if settings.record:
            self._record(settings.record)

    def run(self, shot: CapturedFrame | None, began: float) -> None:
        """Clean frame after frame, starting with the first, until the run ends."""
        settings = self._settings
        while self._goes_on:
            if shot is not None:
                self._show(shot)
            self._serve()
            if self._report and self._figures.a_second_is_over():
                self._report(self._figures.of_the_second(self._pace, self._capture.dropped))
            if settings.frames is not None and self._figures.frames >= settings.frames:
                return
            if settings.seconds is not None and time.monotonic() - began >= settings.seconds:
                return
            if self._view.frozen:
                shot = None
                time.sleep(_POLL)
                self._show_anew()
                continue
            shot = self._capture.next(_POLL)
            if shot is None and self._capture.ended:
                return

    def end(self) -> None:
        """Finish the outputs and report the figures of the whole run."""
        self._worker.shutdown()
        try:
            self._stop_recording()
        finally:
            figures = self._figures.final(self._capture.dropped)
            self._tell(_what_was_done(self._settings.source, figures))
            if self._report:
                self._report(figures)

    def _show(self, shot: CapturedFrame) -> None:
        started = time.monotonic()
        size = (shot.image.shape[1], shot.image.shape[0])
        if size != self._size and self._size != (0, 0):
            self._tell(f"{self._settings.source.name} now gives {size[0]}x{size[1]}")
        self._size = size
        if self._screen:
            work = self._worker.submit(self._clean, shot)
            while not work.done() and self._goes_on:
                self._serve()
            cleaned = work.result()
        else:
            cleaned = self._clean(shot)
        strength = self._view.strength
        self._last = shot, cleaned, strength
        shown = blended(shot.image, cleaned, Strengths(strength, strength))
        if self._recorder:
            self._recorder.write(shown, shot.position)
        if self._virtual:
            self._virtual.send(shown)
        self._draw(shot.image, shown)
        now = time.monotonic()
        self._figures.add(now - started, now - shot.time, self._pace)
        self._keep_pace(now - started)

    def _keep_pace(self, seconds: float) -> None:
        """Change the model if the last frames took too long, or leave time for a better one, and say so."""
        pace, before = self._pace, self._pace.model
        if pace.took(seconds):
            why = "is too slow" if pace.went_down else "is not needed any more"
            self._view.message = f"now with {pace.model}"
            self._tell(f"now with {pace.model}: {before} {why} for {pace.target:g} frames per second")
        elif pace.too_slow and not self._told_too_slow:
            self._told_too_slow = True
            self._tell(
                f"{pace.target:g} frames per second are not reached: about {pace.too_slow:.1f} with {pace.model}, the "
                "fastest model at hand; a smaller picture, temporal=False, more CPUs or a GPU help"
            )

    def _clean(self, shot: CapturedFrame) -> FrameArray:
        return self._cleaner(self._pace.restorer, shot.image)

    def _draw(self, original: FrameArray, shown: FrameArray) -> None:
        if self._screen:
            lines = self._figures.lines(self._pace, self._capture.dropped, self._view.strength)
            self._screen.show(original, shown, lines)

    def _show_anew(self) -> None:
        """Show the frozen frame at the current strength."""
        if self._last and self._last[2] != self._view.strength:
            shot, cleaned, _ = self._last
            self._last = shot, cleaned, self._view.strength
            strength = self._view.strength
            self._draw(shot.image, blended(shot.image, cleaned, Strengths(strength, strength)))

    def _serve(self) -> None:
        """Handle window events for a moment: keys, mouse, size."""
        if not self._screen:
            return
        for command in self._screen.commands():
            try:
                self._obey(self._screen, command)
            except (ImageError, UsageError) as e:  # the picture goes on
                self._view.message = str(e)
                self._tell(str(e))
        self._screen.refresh()

    def _obey(self, screen: Viewer, command: str) -> None:
        if command == "end":
            self._goes_on = False
        elif command == "record" and self._recorder:
            self._stop_recording()
        elif command == "record":
            path = _free(f"recording-{_stamp()}", ".mp4")
            self._record(path)
            self._view.message = f"recording {path}"
        elif command == "snapshot":
            names = screen.snapshot(_free(f"snapshot-{_stamp()}", "-cleaned.png"))
            self._view.message = f"saved {names[1]}"
            self._tell(f"saved {names[0]} and {names[1]}")

    def _record(self, path: Path) -> None:
        overwrite = self._settings.overwrite and path == self._settings.record
        self._recorder, self._view.recording = Recorder(path, self._capture.rate, overwrite), True

    def _stop_recording(self) -> None:
        recorder, self._view.recording = self._recorder, False
        if recorder is None:
            return
        try:
            recorder.close()
        finally:
            self._recorder = None
        if recorder.frames:
            self._view.message = f"recorded {recorder.path}"
            self._tell(f"recorded {counted(recorder.frames, 'frame')} -> {recorder.path}")


def _free(stem: str, ending: str) -> Path:
    """An unused file name in the current folder."""
    names = (Path(f"{stem}{f'-{number}' if number > 1 else ''}{ending}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _what_was_done(source: Source, figures: dict[str, Any]) -> str:
    count, dropped = figures["frames"], figures["dropped"]
    return (
        f"{source.name}: cleaned {counted(count, 'frame')} in {figures['time']:.1f} s, {figures['fps']:.1f} a "
        f"second, with {figures['model']}; {dropped} dropped"
    )


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
