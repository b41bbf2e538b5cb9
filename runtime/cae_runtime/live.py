"""Live cleaning: the newest frame of a camera through the filter and the network, to whatever is to get it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from cae_runtime.camera import Frame, Source
from cae_runtime.capture import Capture, Shot
from cae_runtime.errors import UsageError
from cae_runtime.live_figures import LiveFigures
from cae_runtime.pace import Pace, ladder
from cae_runtime.recorder import Recorder
from cae_runtime.restorer import Restorer
from cae_runtime.screen import Screen
from cae_runtime.temporal import TemporalFilter
from cae_runtime.view import View
from cae_runtime.virtual_camera import VirtualCamera
from cae_runtime.window import DisplayTrial

_POLL: Final = 0.02  # seconds to wait for a frame before the window is looked after
_RATE: Final = 30.0  # frames a second of a camera that does not say


@dataclass(frozen=True)
class LiveSettings:
    """What a live run is to do.

    Attributes:
        source: the camera.
        model: name or file.
        open_model: opens a model.
        strength: 0..1, to begin with.
        compare: whether the window begins with both halves.
        temporal: whether frames are averaged over time before the network.
        target_fps: frames a second that are held by stepping down to cheaper models, or None.
        reconnect: whether a camera that stops is opened again.
        window: whether a window is wanted.
        record: file of a recording from the first frame on, or None.
        virtual_camera: whether a virtual camera is fed.
        frames: frames after which the run ends, or None.
        seconds: seconds after which it ends, or None.
    """

    source: Source
    model: str
    open_model: Callable[[str], Restorer]
    strength: float = 1.0
    compare: bool = False
    temporal: bool = True
    target_fps: float | None = None
    reconnect: bool = False
    window: bool = True
    record: Path | None = None
    virtual_camera: bool = False
    frames: int | None = None
    seconds: float | None = None


@dataclass
class _Outlets:
    """Where pictures go; each may be absent."""

    screen: Screen | None = None
    recorder: Recorder | None = None
    virtual: VirtualCamera | None = None
    view: View = field(default_factory=View)


def run_live(
    settings: LiveSettings, tell: Callable[[str], None], report: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Clean what a camera gives until the window is closed, the file or the time is over, or Ctrl-C is pressed.

    Args:
        settings: what to do.
        tell: called with a line about what happens.
        report: called once a second with the figures, and once at the end.

    Raises:
        DeviceError: the camera or the virtual camera cannot be used, or stopped.
        ImageError: a recording or a snapshot cannot be written.
        ModelError, ProviderError, UsageError: as `Restorer` raises them; or nothing would come of the run.
    """
    trial = DisplayTrial() if settings.window else None
    with contextlib.ExitStack() as stack:
        capture = Capture(settings.source, reconnect=settings.reconnect, tell=tell)
        stack.callback(capture.close)
        models = ladder(settings.model) if settings.target_fps else [settings.model]
        if settings.target_fps and len(models) == 1:
            tell(f"--target-fps: there is no cheaper model than {settings.model!r} to step down to")
        pace = Pace(models, 1 / settings.target_fps if settings.target_fps else None, settings.open_model)
        tell(f"provider: {pace.restorer.provider_note}")
        shot = _first(capture)
        height, width = shot.image.shape[:2]
        tell(_what_it_gives(settings.source, width, height, capture.rate))
        outlets = _Outlets(view=View(compare=settings.compare, strength=settings.strength))
        if trial is not None and not trial.succeeds():
            tell("no window can be opened here: running without one")
        _refuse_nothing(settings, trial is not None and trial.succeeds(), report is not None)
        if settings.virtual_camera:
            outlets.virtual = VirtualCamera((width, height), capture.rate or _RATE)
            stack.callback(outlets.virtual.close)
            tell(f"virtual camera: {outlets.virtual.name}")
        if settings.record:
            outlets.recorder = Recorder(settings.record, capture.rate)
            outlets.view.recording = True
        stack.callback(_finish, outlets, tell)
        if trial is not None and trial.succeeds():
            outlets.screen = Screen(outlets.view, (width, height))
            stack.callback(outlets.screen.close)
        figures = LiveFigures(settings.model)
        stack.callback(lambda: report and report(figures.final(capture.dropped)))
        _loop(settings, capture, shot, pace, outlets, figures, tell, report)


def _loop(
    settings: LiveSettings,
    capture: Capture,
    shot: Shot | None,
    pace: Pace,
    outlets: _Outlets,
    figures: LiveFigures,
    tell: Callable[[str], None],
    report: Callable[[dict[str, Any]], None] | None,
) -> None:
    temporal = TemporalFilter() if settings.temporal else None
    began, size = time.monotonic(), (0, 0)
    view, screen = outlets.view, outlets.screen
    while True:
        if shot is not None and not view.frozen:
            started = time.monotonic()
            if shot.image.shape[:2] != size:
                if size != (0, 0):
                    height, width = shot.image.shape[:2]
                    tell(f"{settings.source.name} now gives {width}x{height}")
                size = shot.image.shape[:2]
            filtered = temporal(shot.image) if temporal else shot.image
            cleaned = cast(Frame, pace.restorer(filtered, strength=view.strength))
            _hand_on(cleaned, shot, outlets)
            if screen:
                screen.show(shot.image, cleaned, figures.lines(pace, capture.dropped, view.strength))
            now = time.monotonic()
            figures.add(now - started, now - shot.time, pace)
            if pace.took(now - started):
                view.message = f"{'slower' if pace.is_reduced else 'fast enough'}: now {pace.model}"
                tell(f"{settings.target_fps:g} frames a second: now with {pace.model}")
        elif screen:
            screen.refresh()
        if screen and not all(_obey(command, settings, capture, outlets, tell) for command in screen.commands()):
            return
        if report and figures.a_second_is_over():
            report(figures.of_the_second(pace, capture.dropped))
        if settings.frames is not None and figures.frames >= settings.frames:
            return
        if settings.seconds is not None and time.monotonic() - began >= settings.seconds:
            return
        shot = capture.next(_POLL)
        if shot is None and capture.ended and not view.frozen:
            return


def _hand_on(cleaned: Frame, shot: Shot, outlets: _Outlets) -> None:
    if outlets.recorder:
        outlets.recorder.write(cleaned, shot.time)
    if outlets.virtual:
        outlets.virtual.send(cleaned)


def _obey(
    command: str, settings: LiveSettings, capture: Capture, outlets: _Outlets, tell: Callable[[str], None]
) -> bool:
    """Do what a key asks for that is not the screen's own affair; return whether to go on."""
    if command == "end":
        return False
    if command == "record":
        if outlets.recorder:
            _finish(outlets, tell)
        else:
            outlets.recorder = Recorder(Path(f"recording-{_stamp()}.mp4"), capture.rate)
            outlets.view.message, outlets.view.recording = f"recording {outlets.recorder.path}", True
    if command == "snapshot" and outlets.screen:
        names = outlets.screen.snapshot(f"snapshot-{_stamp()}")
        outlets.view.message = f"saved {names[1]}"
        tell(f"saved {names[0]} and {names[1]}")
    return True


def _finish(outlets: _Outlets, tell: Callable[[str], None]) -> None:
    """End the recording, if there is one."""
    recorder, outlets.recorder = outlets.recorder, None
    outlets.view.recording = False
    if recorder and recorder.frames:
        recorder.close()
        outlets.view.message = f"recorded {recorder.path}"
        tell(f"recorded {recorder.frames} frames -> {recorder.path}")


def _first(capture: Capture) -> Shot:
    while (shot := capture.next(1.0)) is None:
        pass
    return shot


def _what_it_gives(source: Source, width: int, height: int, rate: float | None) -> str:
    asked = [f"{source.size[0]}x{source.size[1]}"] if source.size else []
    asked += [f"{source.fps:g} frames a second"] if source.fps else []
    gives = f"{source.name}: {width}x{height}" + (f", {rate:g} frames a second" if rate else "")
    return gives + (f" (asked for {', '.join(asked)})" if asked else "")


def _refuse_nothing(settings: LiveSettings, window: bool, reports: bool) -> None:
    ends = settings.frames is not None or settings.seconds is not None
    if not (window or settings.record or settings.virtual_camera or reports or ends):
        raise UsageError(
            "without a window nothing would come of it: name -o FILE, --virtual-camera, --json or --frames"
        )


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
