"""Cleans many image files. Each gets its own result, so one failure does not affect the others."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from cae_runtime.arguments import Progress
from cae_runtime.errors import ImageError, ProviderError
from cae_runtime.io.encoding import check_fits, encode, is_lossy
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, format_written
from cae_runtime.io.headers.header import Header
from cae_runtime.io.image_files import Picture, decode, header_of, read_file, write_file
from cae_runtime.io.pipeline import FILES_AHEAD, PIXELS_UNDER_WAY, PixelBudget, prefetch_map, started_ahead
from cae_runtime.jobs import pictures
from cae_runtime.jobs.pictures import Change, notes_on, notes_on_name
from cae_runtime.jobs.planning import Job
from cae_runtime.jobs.restore.options import DEFAULTS, RestoreOptions
from cae_runtime.jobs.restore.results import NOT_CLEANED, FileResult, output_is_there, reason_of
from cae_runtime.places.address import Address, Place
from cae_runtime.tasks.notes import Note, renamed
from cae_runtime.tasks.restore import Restorer

_log = logging.getLogger(__name__)

OnPart = Callable[[Place, int, int], object]

_LARGE: Final = 2**18  # pixels from which on a picture may take a second, and is worth a thread for its progress


@dataclass(frozen=True)
class Cleaned:
    """A cleaned image file in memory.

    Attributes:
        data: the cleaned file.
        width: as stored, in pixels.
        height: as stored.
        dropped: what was not kept.
        format: of the source.
        notes: remarks for the user.
        pixels: of all frames or pages.
    """

    data: bytes
    width: int
    height: int
    dropped: tuple[str, ...]
    format: str
    notes: tuple[Note, ...] = ()
    pixels: int = 0


def clean_bytes(
    restorer: Restorer,
    data: bytes,
    options: RestoreOptions = DEFAULTS,
    *,
    format: str | None = None,
    progress: Progress | None = None,
) -> Cleaned:
    """Clean an image file that is in memory.

    Args:
        restorer: what cleans.
        data: the whole file.
        options: how; `strength` and `quality` count.
        format: format of the result, see `cae_runtime.io.formats`; None keeps that of `data`, and
            writes a camera raw file as TIFF.
        progress: see `Restorer`.

    Returns:
        The cleaned file.

    Raises:
        ImageError: the data cannot be decoded or cleaned, or the result not encoded.
        ModelError: the model's output patches do not have the size of its input.
        ProviderError: the provider failed while running.
    """
    picture = decode(data)
    height, width = picture.pixels.shape[:2]
    notes = notes_on(picture)
    format = format or format_written(picture.format)
    check_fits(picture, format)
    changed = pictures.cleaned(restorer, picture, options.strength, options.temporal, progress)
    cleaned = changed.of(picture)
    notes += changed.notes
    encoded, dropped = encode(cleaned, format, options.quality)
    return Cleaned(encoded, width, height, dropped, picture.format, tuple(notes), picture.size)


def restore_images(
    restorer: Restorer,
    jobs: Iterable[Job],
    options: RestoreOptions = DEFAULTS,
    *,
    change: Change | None = None,
    on_part: OnPart | None = None,
    on_result: Callable[[FileResult], None] | None = None,
) -> Iterator[FileResult]:
    """Clean image files and yield the results one by one.

    While an image is cleaned, the next one is read and the previous one is written. This needs memory for three images,
    or for one (and the bytes of the next file) if they are large. A store is asked for eight files at a time.

    Args:
        restorer: what cleans.
        jobs: the files, see `cae_runtime.jobs.planning.make_plan`.
        options: how; `strength`, `quality` and `overwrite` count.
        change: called on each picture instead of the restorer; `strength` is ignored then.
        on_part: called in this thread with the path of a large file, how much of it is done, and how much there is.
        on_result: called with each result as soon as its file is written, in the thread that writes. Ctrl-C can keep
            the last ones from being yielded, but not from coming here.

    Yields:
        One result per job, in order. An image that cannot be read, cleaned or written has `failed` and no file.

    Raises:
        ModelError: the model's output patches do not have the size of its input, so no image can be cleaned.
    """
    room = PixelBudget(PIXELS_UNDER_WAY)
    change = change or cleaning(restorer, options)

    def read_one(job: Job) -> _Work:
        work = _Work(job, restorer.provider)
        _step(work, lambda: work.read(options.overwrite))
        return work

    def open_one(read: Callable[[], _Work]) -> _Work:
        work = read()
        _step(work, work.look)
        room.take(work.pixels)
        _step(work, work.decode)
        return work

    def clean_one(work: _Work) -> _Work:
        _step(work, lambda: work.clean(change, on_part))
        return work

    def save_one(work: _Work) -> FileResult:
        try:
            _step(work, lambda: work.save(options.quality))
        finally:
            work.picture = None
            room.give_back(work.pixels)
        if on_result is not None:
            on_result(work.result)
        _log.debug("%s: %s in %.2f s", work.result.source, work.result.status, work.result.seconds)
        return work.result

    yield from _in_threads(list(jobs), (read_one, open_one, clean_one, save_one), room)


def cleaning(restorer: Restorer, options: RestoreOptions) -> Change:
    """Return what cleans a picture; `strength` and `temporal` of the options count."""
    return lambda _, of, told: pictures.cleaned(restorer, of, options.strength, options.temporal, told)


def _in_threads(jobs: Sequence[Job], steps: _Steps, room: PixelBudget) -> Iterator[FileResult]:
    """Read, decode and write in other threads while this one cleans; several read from a store or write to it."""
    read, decode, clean, save = steps
    writers = FILES_AHEAD if any(isinstance(job.output, Address) for job in jobs) else 1
    with (
        ThreadPoolExecutor(FILES_AHEAD, "cae-fetch") as fetcher,
        ThreadPoolExecutor(1, "cae-read") as reader,
        ThreadPoolExecutor(writers, "cae-write") as writer,
    ):
        try:
            with (
                contextlib.closing(_reading(fetcher, read, jobs)) as waiting,
                contextlib.closing(prefetch_map(reader, decode, waiting, ahead=1)) as opened,
            ):
                yield from prefetch_map(writer, save, map(clean, opened), ahead=writers, finish=True)
        finally:
            room.close()


def _reading(
    pool: Executor, read: Callable[[Job], _Work], jobs: Sequence[Job]
) -> Generator[Callable[[], _Work], None, None]:
    """Yield what gives the bytes of each job: those of a store are read ahead."""
    if any(isinstance(job.source, Address) for job in jobs):
        yield from started_ahead(pool, read, jobs, FILES_AHEAD, lambda work: len(work.data), _expected)
    else:
        yield from (partial(read, job) for job in jobs)


def _expected(job: Job) -> int:
    return 0 if job.exists else job.bytes_listed


def notes_of(job: Job) -> list[Note]:
    """Return what a user should know about the name of an output."""
    return [renamed(job.output.name)] if job.renamed else []


class _Work:
    """One image on its way through the steps; each step drops what the next ones do not need."""

    def __init__(self, job: Job, provider: str) -> None:
        self.job = job
        self.result = FileResult(
            str(job.source), str(job.output), "done", "", 0.0, None, None, provider, (), notes=(*notes_of(job),)
        )
        self.data = b""
        self.pixels = 0
        self.header: Header | None = None
        self.picture: Picture | None = None

    def read(self, overwrite: bool) -> None:
        """Read the file, unless its output exists."""
        if output_is_there(self.job, overwrite):
            self.result = replace(self.result, status="skipped", reason="the output exists")
            return
        self.data = read_file(self.job.source)

    def look(self) -> None:
        """Find out what the bytes are."""
        self.header = header_of(self.data)
        self.pixels = self.header.pixels
        _log.debug("%s: %s, %sx%s pixels", self.job.source, self.header.format, self.header.width, self.header.height)

    def decode(self) -> None:
        """Decode the bytes."""
        self.picture, self.data = decode(self.data, self.header), b""
        self.header = None  # it may hold parts of the file
        height, width = self.picture.pixels.shape[:2]
        self.result = replace(self.result, width=width, height=height, pixels=self.picture.size)

    def clean(self, change: Change, on_part: OnPart | None) -> None:
        """Replace the picture by the cleaned one, and report the parts of a large one."""
        assert self.picture is not None  # noqa: S101 - a step of an image that was decoded
        check_fits(self.picture, _format_of(self.job))  # before the work
        progress = None if on_part is None or self.pixels < _LARGE else partial(on_part, self.job.source)
        changed = change(self.job, self.picture, progress)
        self.picture = changed.of(self.picture)
        on_name = notes_on_name(self.job.source, self.job.output, self.picture.format)
        notes = (*self.result.notes, *on_name, *notes_on(self.picture), *changed.notes)
        self.result = replace(self.result, notes=notes, filled=changed.filled)

    def save(self, quality: int | None) -> None:
        """Encode and write the picture."""
        assert self.picture is not None  # noqa: S101 - as above
        if self.result.filled == 0 and self.picture.format == _format_of(self.job):
            write_file(self.job.output, read_file(self.job.source))
            return
        data, dropped = encode(self.picture, _format_of(self.job), quality)
        write_file(self.job.output, data)
        self.result = replace(self.result, dropped=dropped, lossy=is_lossy(data))


_Steps = tuple[
    Callable[[Job], _Work],
    Callable[[Callable[[], _Work]], _Work],
    Callable[[_Work], _Work],
    Callable[[_Work], FileResult],
]


def _step(work: _Work, step: Callable[[], None]) -> None:
    """Do one step of the work, unless the image has failed or is skipped."""
    if work.result.status != "done":
        return
    start = time.perf_counter()
    reason = ""
    try:
        step()
    except (ImageError, ProviderError) as e:
        reason = reason_of(e)
    except MemoryError:
        reason = NOT_CLEANED
    if reason:
        work.result = replace(work.result, status="failed", reason=reason)
        work.picture, work.data = None, b""
    work.result = replace(work.result, seconds=work.result.seconds + time.perf_counter() - start)


def _format_of(job: Job) -> str:
    suffix = job.output.suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise ImageError(f"has the suffix {suffix!r}, which names no format to write: choose one, such as ext='png'")
    return FORMAT_OF_SUFFIX[suffix]
