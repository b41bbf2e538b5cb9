"""Opens the pictures of a call one after the other; the next one is decoded while one is processed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from cae_runtime.arguments import Progress as Reported
from cae_runtime.errors import NO_MEMORY, ImageError, ProviderError, UsageError
from cae_runtime.io.formats import is_video
from cae_runtime.io.headers.header import Header
from cae_runtime.io.image_files import decode, header_of, memory_errors, read_file
from cae_runtime.io.orientation import upright
from cae_runtime.io.pipeline import FILES_AHEAD, PIXELS_UNDER_WAY, PixelBudget, prefetch_map, started_ahead
from cae_runtime.jobs.paths import path_kind, spelling_of
from cae_runtime.jobs.pictures import first_of
from cae_runtime.jobs.planning import Job, Plan, find_pictures
from cae_runtime.jobs.progress import Progress
from cae_runtime.places.address import Address, Place
from cae_runtime.tasks.notes import Note
from cae_shared.text import counted

_log = logging.getLogger(__name__)

_NO_MEMORY: Final = f"cannot be processed: {NO_MEMORY}"

OnPart = Callable[[Place, int, int], None]
_Read = tuple[Job, Callable[[], bytes]]

Result = TypeVar("Result")
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Opened:
    """A picture of the plan: its upright pixels (with the EXIF orientation applied), or why it could not be read.

    Attributes:
        job: its source and its output.
        pixels: uint8, uint16 or float32, as `cae_runtime.io.image_files.Picture` has them; None where it could not be
            read.
        reason: why not.
        room: pixels that it reserves.
        progress: to be called with the amount of work that is done, and the total amount.
        notes: what a user should know, where first frames and pages are taken.
    """

    job: Job
    pixels: NDArray[Any] | None
    reason: str = ""
    room: int = 0
    progress: Reported | None = None
    notes: tuple[Note, ...] = ()


def images_of(
    sources: Sequence[Place], out: Place, *, name_of: Callable[[Place], str] | None = None, leave_out: bool = True
) -> Plan:
    """Find the images to process; videos in folders are left out and counted.

    Args:
        sources: images and folders.
        out: the folder that results are mirrored into.
        name_of: from an image to the name of its result.
        leave_out: whether to skip `out` if it lies inside a source.

    Raises:
        UsageError: a source is missing, cannot be accessed, has no images or is a video.
    """
    for source in sources:
        if is_video(source) and path_kind(source, "source") != "folder":
            raise UsageError(f"source {str(source)!r} is a video: only images are supported here")
    plan = find_pictures(sources, out, name_of=name_of, leave_out=leave_out)
    images = tuple(job for job in plan.jobs if not is_video(job.source))
    videos = tuple(job.source for job in plan.jobs if is_video(job.source))
    if not images and not plan.unreadable:
        raise UsageError(f"{', '.join(repr(str(source)) for source in sources)}: only videos and no images were found")
    if videos:
        _log.info("note: %s left out: only images are supported here", counted(len(videos), "video"))
    return replace(plan, jobs=images, left_out=(*plan.left_out, *videos))


def each_once(plan: Plan) -> Plan:
    """Return a plan in which a picture that several sources name, such as a folder and one inside it, is there once."""
    jobs = _once(plan.jobs, lambda job: job.source)
    if len(jobs) < len(plan.jobs):
        again = counted(len(plan.jobs) - len(jobs), "image")
        _log.info("note: %s named by more than one source: each is used once", again)
    return replace(
        plan,
        jobs=jobs,
        unreadable=_once(plan.unreadable, lambda at: at.path),
        left_out=_once(plan.left_out, lambda path: path),
    )


def _once(things: Sequence[Thing], path_of: Callable[[Thing], Place]) -> tuple[Thing, ...]:
    """Leave out what has the path of an earlier one, whatever its folder is called; a link is not its target."""
    found: dict[tuple[str, str], Thing] = {}
    for thing in things:
        path = path_of(thing)
        found.setdefault((spelling_of(path.parent), path.name), thing)
    return tuple(found.values())


def opened(plan: Plan, doing: str, *, first: bool = False) -> Iterator[Opened]:
    """Yield every picture of a plan in order, with a progress bar; unreadable ones do not stop the others.

    Args:
        plan: what `images_of` found.
        doing: the verb before the bar.
        first: whether the first frame or page is taken of files that have several; otherwise these fail.
    """
    with (
        Progress(len(plan.jobs), doing) as progress,
        contextlib.closing(opened_quietly(plan.jobs, progress.on_part, first=first)) as pictures,
    ):
        for picture in pictures:
            yield picture
            progress.on_file()


def opened_quietly(jobs: Sequence[Job], on_part: OnPart, *, first: bool = False) -> Generator[Opened, None, None]:
    """Yield every picture in order.

    Args:
        jobs: the pictures.
        on_part: called with a picture, how much of the work on it is done, and how much there is.
        first: as in `opened`.
    """
    room = PixelBudget(PIXELS_UNDER_WAY)
    with (
        ThreadPoolExecutor(FILES_AHEAD, "cae-fetch") as fetcher,
        ThreadPoolExecutor(1, "cae-read") as reader,
        contextlib.closing(_reading(fetcher, jobs)) as read,
        contextlib.closing(prefetch_map(reader, lambda each: _open(each, room, first), read, ahead=1)) as pictures,
    ):
        try:
            for picture in pictures:
                yield replace(picture, progress=partial(on_part, picture.job.source))
                room.give_back(picture.room)
        finally:
            room.close()


def _reading(pool: Executor, jobs: Sequence[Job]) -> Generator[_Read, None, None]:
    """Yield each job with what gives its bytes: those of a store are read ahead."""
    if not any(isinstance(job.source, Address) for job in jobs):
        yield from ((job, partial(read_file, job.source)) for job in jobs)
        return
    read_ahead = started_ahead(
        pool, lambda job: read_file(job.source), jobs, FILES_AHEAD, len, lambda job: job.bytes_listed
    )
    with contextlib.closing(read_ahead) as read:
        yield from zip(jobs, read, strict=True)


def _open(each: _Read, room: PixelBudget, first: bool) -> Opened:
    job, read = each
    taken, notes = 0, list[Note]()
    try:
        data = read()
        header = header_of(data)
        taken = room.take(header.pixels)
        if first:
            picture, notes = first_of(data, header)
            pixels = upright(picture.pixels, picture.orientation)
        else:
            pixels = single_image(data, header)
    except ImageError as e:
        return Opened(job, None, str(e), taken)
    except MemoryError:
        return Opened(job, None, _NO_MEMORY, taken)
    return Opened(job, pixels, "", taken, notes=(*notes,))


def single_image(data: bytes, header: Header | None = None) -> NDArray[Any]:
    """Decode an image file of one frame or page; return its upright pixels, as `Picture` has them.

    Args:
        data: the file.
        header: what `header_of` returns, or None.

    Raises:
        ImageError: it cannot be decoded, or has several frames or pages.
    """
    header = header_of(data) if header is None else header
    if header.frames > 1:
        raise ImageError(f"has {header.frames} frames or pages: this needs single images")
    picture = decode(data, header)
    return upright(picture.pixels, picture.orientation)


def tried(work: Callable[[], Result]) -> tuple[Result | None, str]:
    """Process one picture; return its result, or None and the reason for the failure."""
    try:
        with memory_errors():
            return work(), ""
    except (ImageError, ProviderError) as e:
        return None, str(e)
    except MemoryError:
        return None, _NO_MEMORY
