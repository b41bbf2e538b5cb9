"""What `cae-run --webcam` and `--list-cameras` do after parsing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer

from cae_runtime.cli.models import open_restorer
from cae_runtime.cli.options import Options
from cae_runtime.cli.terminal import tell
from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.inference.model_files import DEFAULT_MODEL
from cae_runtime.live.camera import find_cameras, parse_source
from cae_runtime.live.recorder import check_path
from cae_runtime.live.run import run_live
from cae_runtime.live.settings import LiveSettings

_SIDE_MAX = 16_384


def named_cameras() -> list[str]:
    """Return the available cameras, one line each.

    Raises:
        DeviceError: there is no camera.
    """
    found = find_cameras()
    if not found:
        raise DeviceError("the system lists no camera: connect one, or name a device or an address with --camera")
    return [f"{number}  {name}" for number, name in found.items()]


def run_webcam(options: Options) -> None:
    """Clean a camera's picture; see `LiveSettings`.

    Raises:
        CaeRuntimeError: as `run_live` raises it; `UsageError` for invalid options.
    """
    record = None
    if options.output is not None:
        record = Path(options.output)
        check_path(record, options.overwrite)
    source = parse_source("0" if options.camera is None else options.camera, _parsed_size(options.size), options.fps)
    if record is not None and source.is_file and record.exists() and record.samefile(str(source.target)):
        raise UsageError(f"recording {str(record)!r} is the source: choose another name")
    settings = LiveSettings(
        source, options.model or DEFAULT_MODEL, lambda name: open_restorer(options, name),
        adapts=options.model is None, strength=options.strength, compare=options.compare, temporal=options.temporal,
        target_fps=options.target_fps, reconnect=options.reconnect, window=not options.no_window, record=record,
        overwrite=options.overwrite, virtual_camera=options.virtual_camera, frames=options.frames,
        seconds=options.seconds,
    )  # fmt: skip
    run_live(settings, tell, (lambda figures: typer.echo(json.dumps(figures))) if options.as_json else None)


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= width <= _SIDE_MAX and 1 <= height <= _SIDE_MAX):
        raise UsageError(f"--size is {text!r}: give width and height, such as 1280x720")
    return width, height
