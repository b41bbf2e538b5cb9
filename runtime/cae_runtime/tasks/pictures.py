"""The pictures of a call, one after the other: the next is read and decoded while one is worked on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cae_runtime.container import exif_orientation
from cae_runtime.errors import ImageError, UsageError
from cae_runtime.formats import is_video
from cae_runtime.images import decode, read_file, upright
from cae_runtime.plan import Job, Plan, find_pictures, is_folder
from cae_runtime.pool import in_order
from cae_runtime.report import Progress

NO_MEMORY = "is too large for this machine's memory"


@dataclass(frozen=True)
class Opened:
    """A picture of the plan: its pixels as they are to be seen (an EXIF orientation is applied), or why there are none.

    Attributes:
        job: where it is, and where what is made of it goes.
        pixels: uint8 or uint16, as `cae_runtime.images.Picture` has them; None where it could not be read.
        reason: why not.
    """

    job: Job
    pixels: NDArray[Any] | None
    reason: str = ""


def images_of(sources: Sequence[Path], out: Path, *, suffix: str = "", ext: str | None = None) -> Plan:
    """Find the images to work on; of folders, videos are left out and counted as such.

    Args:
        sources: images and folders.
        out: the folder that results are mirrored into.
        suffix: added to the stem of each output.
        ext: suffix of the outputs, such as `.png`.

    Raises:
        UsageError: a source is missing, cannot be looked at, has no images or is a video.
    """
    for source in sources:
        if is_video(source) and not is_folder(source, "source"):
            raise UsageError(f"source {str(source)!r} is a video: this model takes images")
    plan = find_pictures(sources, out, suffix=suffix, ext=ext)
    images = tuple(job for job in plan.jobs if not is_video(job.source))
    if not images and not plan.unreadable:
        raise UsageError(f"{', '.join(repr(str(source)) for source in sources)}: there are videos and no images")
    return replace(plan, jobs=images, left_out=plan.left_out + len(plan.jobs) - len(images))


def opened(plan: Plan, doing: str) -> Iterator[Opened]:
    """Yield every picture of a plan in order, with a progress bar; one that cannot be read does not stop the others.

    Args:
        plan: what `images_of` found.
        doing: the word before the bar.
    """
    with (
        ThreadPoolExecutor(1, "cae-read") as reader,
        contextlib.closing(in_order(reader, _open, plan.jobs, ahead=1)) as pictures,
        Progress(len(plan.jobs), doing) as progress,
    ):
        for picture in pictures:
            yield picture
            progress.on_file()


def _open(job: Job) -> Opened:
    try:
        picture = decode(read_file(job.source))
    except ImageError as e:
        return Opened(job, None, str(e))
    except MemoryError:
        return Opened(job, None, NO_MEMORY)
    orientation = exif_orientation(picture.metadata["exif"]) if "exif" in picture.metadata else 1
    return Opened(job, upright(picture.pixels, orientation))
