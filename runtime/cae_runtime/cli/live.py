"""What `cae-run --webcam` and `--list-cameras` do after parsing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.inference.session import DEFAULT_MODEL
from cae_runtime.live.camera import find_cameras, parse_source
from cae_runtime.live.recorder import check_path
from cae_runtime.live.session import LiveSettings, run_live
from cae_runtime.tasks.restore import Restorer

_SIDE_MAX = 16_384


def named_cameras() -> list[str]:
    """Return the available cameras, one line each.

    Raises:
        DeviceError: there is no camera.
    """
    found = find_cameras()
    if not found:
        raise DeviceError("no camera that the system lists")
    return [f"{number}  {name}" for number, name in found.items()]


def run_webcam(
    open_model: Callable[[str], Restorer],
    *,
    camera: str | None,
    size: str | None,
    fps: float | None,
    model: str | None,
    strength: float,
    compare: bool,
    temporal: bool,
    target_fps: float | None,
    reconnect: bool,
    no_window: bool,
    output: str | None,
    overwrite: bool,
    virtual_camera: bool,
    frames: int | None,
    seconds: float | None,
    tell: Callable[[str], None],
    tell_json: Callable[[str], None] | None,
) -> None:
    """Run live with the given options; see `LiveSettings`.

    Raises:
        CaeRuntimeError: as `run_live` raises it; `UsageError` for invalid options.
    """
    record = None
    if output is not None:
        record = Path(output)
        check_path(record, overwrite)
    source = parse_source("0" if camera is None else camera, _parsed_size(size), fps)
    if record is not None and source.is_file and record.exists() and record.samefile(str(source.target)):
        raise UsageError(f"recording {str(record)!r} is the source: choose another name")
    settings = LiveSettings(
        source, model or DEFAULT_MODEL, open_model, adapts=model is None, strength=strength, compare=compare,
        temporal=temporal, target_fps=target_fps, reconnect=reconnect, window=not no_window, record=record,
        overwrite=overwrite, virtual_camera=virtual_camera, frames=frames, seconds=seconds,
    )  # fmt: skip
    run_live(settings, tell, (lambda figures: tell_json(json.dumps(figures))) if tell_json else None)


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= width <= _SIDE_MAX and 1 <= height <= _SIDE_MAX):
        raise UsageError(f"--size is {text!r}: give width and height, such as 1280x720")
    return width, height
