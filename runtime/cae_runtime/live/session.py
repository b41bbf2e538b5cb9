"""Live cleaning: the newest frame of a camera goes through the filter and the network to all outputs."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cae_runtime.errors import DeviceError, ImageError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture, CapturedFrame
from cae_runtime.live.overlay import View
from cae_runtime.live.rate_control import RateController, fallback_models
from cae_runtime.live.recorder import Recorder
from cae_runtime.live.stats import LiveFigures
from cae_runtime.live.viewer import Screen
from cae_runtime.live.virtual_camera import VirtualCamera
from cae_runtime.live.window import DisplayTrial
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import FrameCleaner, blended

_POLL: Final = 0.02  # seconds to wait for a frame before window events are handled
_RATE: Final = 30.0  # frames per second of a camera that does not say
_SMOOTH: Final = 15.0  # acceptable frames per second if no model holds the camera's rate


@dataclass(frozen=True)
class LiveSettings:
    """The settings of a live run.

    Attributes:
        source: the camera.
        model: name or file.
        adapts: whether a cheaper packaged model replaces `model` if that does not hold the camera's rate; if none does,
            the best that holds 15 frames per second is taken.
        open_model: opens a model.
        strength: initial strength, 0..1.
        compare: whether the window first shows original and result side by side.
        temporal: whether frames are averaged over time before the network.
        target_fps: frames per second to hold by stepping down to cheaper models, or None.
        reconnect: whether to reopen a camera that stops.
        window: whether to open a window.
        record: file to record to from the first frame on, or None.
        overwrite: whether to replace that file if it exists.
        virtual_camera: whether to feed a virtual camera.
        frames: number of frames after which the run ends, or None.
        seconds: seconds after which it ends, or None.
    """

    source: Source
    model: str
    open_model: Callable[[str], Restorer]
    adapts: bool = False
    strength: float = 1.0
    compare: bool = False
    temporal: bool = True
    target_fps: float | None = None
    reconnect: bool = False
    window: bool = True
    record: Path | None = None
    overwrite: bool = False
    virtual_camera: bool = False
    frames: int | None = None
    seconds: float | None = None


def run_live(
    settings: LiveSettings, tell: Callable[[str], None], report: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Clean a camera's frames until the window is closed, the file or the time ends, or Ctrl-C is pressed.

    Args:
        settings: of the run.
        tell: called with each message.
        report: called once a second with the figures, and once at the end.

    Raises:
        DeviceError: the camera, the display or the virtual camera cannot be used, or the camera stopped or gave no
            frame in time.
        ImageError: a recording or a snapshot cannot be written.
        ModelError, ProviderError, UsageError: as `Restorer` raises them; UsageError also if the run would have no
            output.
    """
    began, view = time.monotonic(), View(compare=settings.compare, strength=settings.strength)

    def tell_both(line: str) -> None:
        view.message = line
        tell(line)

    with contextlib.ExitStack() as stack:
        trial = DisplayTrial() if settings.window else None
        if trial:
            stack.callback(trial.close)
        capture = Capture(settings.source, reconnect=settings.reconnect, tell=tell_both)
        stack.callback(capture.close)
        restorer = settings.open_model(settings.model)  # check it before waiting for the camera
        for line in restorer.remarks:
            tell(line)
        shot = _first(capture, None if settings.seconds is None else began + settings.seconds)
        if shot is None:
            raise DeviceError(f"{settings.source.name} gave no frame in time")
        view.message = ""
        height, width = shot.image.shape[:2]
        tell(_what_it_gives(settings.source, width, height, capture.rate))
        if trial and not trial.succeeds():
            raise DeviceError(
                "no window can be opened here (no display, or an OpenCV without windows): add --no-window to go on "
                "without one"
            )
        _refuse_nothing(settings, report is not None)
        pace = _begin_pace(settings, restorer, shot.image, capture.rate, tell)
        virtual = VirtualCamera((width, height), capture.rate or _RATE) if settings.virtual_camera else None
        if virtual:
            stack.callback(virtual.close)
            tell(f"virtual camera: {virtual.name}")
        screen = Screen(view, (width, height)) if settings.window else None
        if screen:
            stack.callback(screen.close)
        live = _Live(settings, capture, pace, view, screen, virtual, tell, report)
        stack.callback(live.end)
        live.run(shot, began)


class _Live:
    """A live run in progress."""

    def __init__(
        self,
        settings: LiveSettings,
        capture: Capture,
        pace: RateController,
        view: View,
        screen: Screen | None,
        virtual: VirtualCamera | None,
        tell: Callable[[str], None],
        report: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self._settings, self._capture, self._pace, self._view = settings, capture, pace, view
        self._screen, self._virtual, self._tell, self._report = screen, virtual, tell, report
        self._told_too_slow = False
        self._cleaner = FrameCleaner(settings.temporal)
        self._last: tuple[CapturedFrame, FrameArray, float] | None = (
            None  # the shown frame, fully cleaned, and its strength
        )
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
        shown = blended(shot.image, cleaned, strength)
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
            self._tell(f"now with {pace.model}: {before} {why} for {pace.target:g} frames a second")
        elif pace.too_slow and not self._told_too_slow:
            self._told_too_slow = True
            self._tell(
                f"{pace.target:g} frames a second are not reached: about {pace.too_slow:.1f} with {pace.model}, the "
                "fastest model at hand; a smaller picture (--size), --no-temporal, more CPUs or a GPU (--provider) help"
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
            self._draw(shot.image, blended(shot.image, cleaned, self._view.strength))

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

    def _obey(self, screen: Screen, command: str) -> None:
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
            self._tell(f"recorded {recorder.frames} frames -> {recorder.path}")


def _first(capture: Capture, until: float | None) -> CapturedFrame | None:
    """Wait for the first frame; return None if it did not arrive in time or never will."""
    while (shot := capture.next(0.2)) is None:
        if capture.ended or (until is not None and time.monotonic() >= until):
            return None
    return shot


def _free(stem: str, ending: str) -> Path:
    """An unused file name in the current folder."""
    names = (Path(f"{stem}{f'-{number}' if number > 1 else ''}{ending}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _what_it_gives(source: Source, width: int, height: int, rate: float | None) -> str:
    asked = [f"{source.size[0]}x{source.size[1]}"] if source.size else []
    asked += [f"{source.fps:g} frames a second"] if source.fps else []
    gives = f"{source.name}: {width}x{height}" + (f", {rate:g} frames a second" if rate else "")
    return gives + (f" (asked for {', '.join(asked)})" if asked else "")


def _begin_pace(
    settings: LiveSettings, restorer: Restorer, frame: FrameArray, rate: float | None, tell: Callable[[str], None]
) -> RateController:
    """Choose the first model, and say which it is if there was a choice."""
    opened = {settings.model: restorer}

    def open_model(name: str) -> Restorer:
        return opened.pop(name) if name in opened else settings.open_model(name)

    def measure(restorer: Restorer) -> float:
        started = time.monotonic()
        FrameCleaner(settings.temporal)(restorer, frame)
        return time.monotonic() - started

    target = settings.target_fps or ((rate or _SMOOTH) if settings.adapts else None)
    models = fallback_models(settings.model) if target else [settings.model]
    if settings.target_fps and len(models) == 1:
        tell(f"--target-fps: there is no cheaper model than {settings.model!r} to step down to")
    pace = RateController(models, 1 / target if target else None, open_model)
    if settings.adapts:
        seconds = pace.begin(measure, None if settings.target_fps else 1 / _SMOOTH)
        what = f"the best packaged one that makes {pace.target:g} frames a second here"
        if seconds * pace.target > 1:
            what = f"the fastest packaged one, about {1 / seconds:.1f} frames a second here"
        tell(f"model: {pace.model}, {what} (-m NAME pins one)")
    return pace


def _what_was_done(source: Source, figures: dict[str, Any]) -> str:
    count, dropped = figures["frames"], figures["dropped"]
    return (
        f"{source.name}: cleaned {count} frame{'s' * (count != 1)} in {figures['time']:.1f} s, {figures['fps']:.1f} a "
        f"second, with {figures['model']}; {dropped} dropped"
    )


def _refuse_nothing(settings: LiveSettings, reports: bool) -> None:
    ends = settings.frames is not None or settings.seconds is not None
    if not (settings.window or settings.record or settings.virtual_camera or reports or ends):
        raise UsageError(
            "without a window nothing would come of it: name -o FILE, --virtual-camera, --json or --frames"
        )


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
