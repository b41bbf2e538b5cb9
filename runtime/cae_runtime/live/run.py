"""Starts a live run: opens camera, window and outputs, and chooses a model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture, CapturedFrame
from cae_runtime.live.overlay import ViewState
from cae_runtime.live.rate_control import RateController, fallback_models
from cae_runtime.live.session import LiveSession
from cae_runtime.live.settings import LiveSettings
from cae_runtime.live.viewer import Viewer
from cae_runtime.live.virtual_camera import VirtualCamera
from cae_runtime.screen.window import DisplayTrial
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import FrameCleaner

_RATE: Final = 30.0  # frames per second of a camera that does not say
_SMOOTH: Final = 15.0  # acceptable frames per second if no model holds the camera's rate


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
    began, view = time.monotonic(), ViewState(compare=settings.compare, strength=settings.strength)

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
                "no window can be opened here (no display, or an OpenCV without windows): pass window=False to go on "
                "without one"
            )
        _require_an_output(settings, report is not None)
        pace = _begin_pace(settings, restorer, shot.image, capture.rate, tell)
        virtual = VirtualCamera((width, height), capture.rate or _RATE) if settings.virtual_camera else None
        if virtual:
            stack.callback(virtual.close)
            tell(f"virtual camera: {virtual.name}")
        screen = Viewer(view, (width, height)) if settings.window else None
        if screen:
            stack.callback(screen.close)
        live = LiveSession(
            settings, capture=capture, pace=pace, view=view, screen=screen, virtual=virtual, tell=tell, report=report
        )
        stack.callback(live.end)
        live.run(shot, began)


def _first(capture: Capture, until: float | None) -> CapturedFrame | None:
    """Wait for the first frame; return None if it did not arrive in time or never will."""
    while (shot := capture.next(0.2)) is None:
        if capture.ended or (until is not None and time.monotonic() >= until):
            return None
    return shot


def _what_it_gives(source: Source, width: int, height: int, rate: float | None) -> str:
    asked = [f"{source.size[0]}x{source.size[1]}"] if source.size else []
    asked += [f"{source.fps:g} frames per second"] if source.fps else []
    gives = f"{source.name}: {width}x{height}" + (f", {rate:g} frames per second" if rate else "")
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
        tell(f"target_fps={settings.target_fps:g}: there is no cheaper model than {settings.model!r} to step down to")
    pace = RateController(models, 1 / target if target else None, open_model)
    if settings.adapts:
        seconds = pace.begin(measure, None if settings.target_fps else 1 / _SMOOTH)
        what = f"the best packaged one that makes {pace.target:g} frames per second here"
        if seconds * pace.target > 1:
            what = f"the fastest packaged one, about {1 / seconds:.1f} frames per second here"
        tell(f"model: {pace.model}, {what} (to keep one model, name it)")
    return pace


def _require_an_output(settings: LiveSettings, reports: bool) -> None:
    ends = settings.frames is not None or settings.seconds is not None
    if not (settings.window or settings.record or settings.virtual_camera or reports or ends):
        raise UsageError("a run without a window needs record='FILE', virtual_camera=True, a JSON report or frames=N")
