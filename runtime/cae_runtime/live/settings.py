"""The settings of a live run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cae_runtime.live.camera import Source
from cae_runtime.tasks.restore import Restorer


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
