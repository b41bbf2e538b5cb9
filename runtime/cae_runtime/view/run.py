"""Starts the window for pictures: finds the pictures, opens the model and the display."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from cae_runtime.errors import DeviceError, ImageError, UsageError
from cae_runtime.io.formats import is_video
from cae_runtime.io.image_files import header_of, read_file
from cae_runtime.io.metadata import read as read_metadata
from cae_runtime.io.orientation import exif_orientation
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.opened_images import images_of
from cae_runtime.jobs.planning import Plan, make_plan
from cae_runtime.jobs.restore.extras import check_extras
from cae_runtime.places.address import local_path
from cae_runtime.screen.window import DisplayTrial
from cae_runtime.view.background import Background
from cae_runtime.view.session import PictureSession, ViewSettings
from cae_runtime.view.viewer import PictureState, PictureViewer

_SIDEWAYS: Final = 5  # orientations from which on width and height change places
_USUAL_SIZE: Final = (960, 720)  # of the window if the first picture cannot be read


def view_pictures(settings: ViewSettings, tell: Callable[[str], None]) -> bool:
    """Show pictures before and after cleaning, until the window is closed.

    Args:
        settings: the settings of the run.
        tell: called with each message for the user.

    Returns:
        Whether a picture could not be read or saved.

    Raises:
        DeviceError: no window can be opened.
        ModelError, ProviderError, UsageError: see `Restorer` and `make_plan`.
    """
    with contextlib.ExitStack() as stack:
        trial = DisplayTrial()
        stack.callback(trial.close)
        plan = _plan(settings)
        for line in failures([(str(at.path), at.reason) for at in plan.unreadable], plan):
            tell(line)
        if not plan.jobs:
            return True
        restorer = settings.open_model(settings.model)
        for line in restorer.remarks:
            tell(line)
        if not trial.succeeds():
            raise DeviceError("no window can be opened here (no display, or an OpenCV without windows)")
        background = Background()
        stack.callback(background.close)
        first = local_path(plan.jobs[0].source, "source")
        background.open(first, restorer)
        view = PictureState(compare=True, figures=True, strengths=settings.options.strength)
        viewer = PictureViewer(view, background, _size(first))
        stack.callback(viewer.close)
        session = PictureSession(settings, plan.jobs, restorer, (view, viewer, background), tell)
        stack.callback(session.close)
        session.run()
    return session.failed or bool(plan.unreadable)


def _plan(settings: ViewSettings) -> Plan:
    """Find the pictures, and where each is saved.

    Raises:
        UsageError: see `make_plan`; or there are no images.
    """
    named = [source for source in settings.sources if is_video(source) and not source.is_dir()]
    if named:
        raise UsageError(f"source {str(named[0])!r} is a video: the window shows images")
    if settings.output is None:
        plan = images_of(settings.sources, Path())
    else:
        options, is_folder = settings.options, settings.output.endswith(("/", os.sep))
        plan = make_plan(
            settings.sources, Path(settings.output), suffix=options.suffix, ext=options.ext, out_is_folder=is_folder
        )
        plan = replace(plan, jobs=tuple(job for job in plan.jobs if not is_video(job.source)))
    if not plan.jobs and not plan.unreadable:
        raise UsageError("there are no images to show: name images, or folders with images")
    check_extras(plan.jobs, settings.sources, settings.options.coding)
    return plan


def _size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture turned upright."""
    try:
        data = read_file(path)
        header = header_of(data)
    except ImageError:
        return _USUAL_SIZE
    turned = exif_orientation(read_metadata(data, header.format, header).exif) >= _SIDEWAYS
    return (header.height, header.width) if turned else (header.width, header.height)
