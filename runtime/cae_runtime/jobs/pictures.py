"""Cleans a picture as a whole, page by page, or frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.io.animation import Animation
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, RAW, TIFF, format_written, same_format
from cae_runtime.io.headers.header import Header
from cae_runtime.io.image_files import Picture, decode_first
from cae_runtime.jobs.planning import Job
from cae_runtime.places.address import Place
from cae_runtime.tasks import any_range
from cae_runtime.tasks import notes as all_notes
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.video.frame_cleaner import frame_cleaner

_COLORS: Final = 3
_PAGE: Final = 1000  # parts that each page of a TIFF counts as


@dataclass(frozen=True)
class Changed:
    """The result of one picture.

    Attributes:
        pixels: the new ones, of the same shape and dtype.
        notes: remarks for the user.
        animation: the new frames of an animation.
        pages: the results of the further pages of a TIFF.
        filled: share of the pixels that were filled, 0..1, where holes were; with 0 the file is copied.
    """

    pixels: NDArray[Any]
    notes: tuple[Note, ...] = ()
    filled: float | None = None
    animation: Animation | None = None
    pages: tuple[Changed, ...] = ()

    def of(self, picture: Picture) -> Picture:
        """Return the picture with its result."""
        pages = tuple(page.of(old) for page, old in zip(self.pages, picture.pages, strict=True))
        return replace(picture, pixels=self.pixels, animation=self.animation, pages=pages)


Change = Callable[[Job, Picture, Progress | None], Changed]


def notes_on(picture: Picture) -> list[Note]:
    """Return what a user should know about a picture before it is cleaned."""
    if picture.format == RAW:
        return [all_notes.DEVELOPED]
    inks = dict.fromkeys(page.inks for page in (picture, *picture.pages) if page.inks)
    return [all_notes.BY_PROFILE if how == "profile" else all_notes.BY_FORMULA for how in inks]


def first_of(data: bytes, header: Header) -> tuple[Picture, list[Note]]:
    """Decode the first frame or page of an image file; also return what a user should know.

    Raises:
        ImageError: as `decode` raises it.
    """
    picture = decode_first(data, header)
    several = [all_notes.first_of(header.frames, "pages" if header.format == TIFF else "frames")]
    return picture, [*(several if header.frames > 1 else []), *notes_on(picture)]


def notes_on_name(source: Place, output: Place, format: str) -> list[Note]:
    """Return what a user should know if a file is not what its name says, and its output is what that says.

    Args:
        source: the file.
        output: what it becomes.
        format: that of its content.
    """
    written = FORMAT_OF_SUFFIX.get(output.suffix.lower())
    if written is None or written in (format, format_written(format)) or not same_format(source.suffix, output.suffix):
        return []
    return [all_notes.named_otherwise(format, written)]


def cleaned(
    restorer: Restorer, picture: Picture, strength: Strengths, temporal: bool, progress: Progress | None = None
) -> Changed:
    """Clean a picture with all of its pages or frames.

    Args:
        restorer: what cleans.
        picture: the picture.
        strength: as of `Restorer`.
        temporal: whether static regions of an animation are averaged over time before cleaning.
        progress: see `Restorer`.

    Raises:
        ModelError, ProviderError: see `Restorer`.
    """
    if picture.pages:
        pages: list[Changed] = []
        for page in (replace(picture, pages=()), *picture.pages):
            within = None if progress is None else partial(_of_page, progress, len(pages), 1 + len(picture.pages))
            pages.append(cleaned(restorer, page, strength, temporal, within))
        told = dict.fromkeys(note for changed in pages for note in changed.notes)
        return replace(pages[0], notes=tuple(told), pages=tuple(pages[1:]))
    if picture.animation:
        frames = _cleaned_frames(restorer, picture.animation, strength, temporal, progress)
        return Changed(frames[0], animation=replace(picture.animation, frames=frames))
    notes: list[Note] = []
    if picture.pixels.dtype == np.float32:
        values = any_range.cleaned(restorer, picture.pixels, strength, notes.append, progress)
        return Changed(values, tuple(notes))
    pixels = restorer(picture.pixels, strength=strength, tell=notes.append, progress=progress)
    return Changed(pixels, tuple(notes))


def _of_page(progress: Progress, number: int, pages: int, done: int, total: int) -> None:
    """Report how much of a page is done as a part of all pages."""
    progress(_PAGE * number + _PAGE * done // total, _PAGE * pages)


def _cleaned_frames(
    restorer: Restorer, animation: Animation, strength: Strengths, temporal: bool, progress: Progress | None
) -> tuple[NDArray[np.uint8], ...]:
    """Clean the frames of an animation: opaque ones as those of a video, others one by one."""
    clean: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    if animation.frames[0].shape[2] == _COLORS:
        clean = frame_cleaner(restorer, strength, temporal)
    else:
        clean = partial(restorer, strength=strength)
    frames = []
    for number, frame in enumerate(animation.frames, start=1):
        frames.append(clean(frame))
        if progress is not None:
            progress(number, len(animation.frames))
    return tuple(frames)
