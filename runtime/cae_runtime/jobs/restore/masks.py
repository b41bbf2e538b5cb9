"""Which pixels of each image are filled: the pixels of one color, or those that a mask marks."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.errors import ImageError, UsageError
from cae_runtime.inference.session import Session
from cae_runtime.io.arrays import colors_of
from cae_runtime.io.formats import J2K, JP2, SUFFIXES_READ
from cae_runtime.io.image_files import Picture, decode, memory_errors, read_file
from cae_runtime.io.orientation import upright
from cae_runtime.jobs.paths import path_kind
from cae_runtime.jobs.pictures import Change, Changed
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.walking import below
from cae_runtime.places.address import Address, Place
from cae_runtime.tasks.inpaint import Inpainter
from cae_runtime.tasks.mask_values import FLOATING, Marks, adjusted, marks_of
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer

_COLORS: Final = 3
_MOST: Final = 0.5  # share of a picture beyond which there is a note
_NOTHING: Final = {
    False: "has a mask that marks nothing: no pixel of it is bright and opaque",
    True: "has a mask that marks all of it, and so nothing once it is inverted",
}
_TURNED: Final = {
    False: "invert_mask=True fills what it does not mark",
    True: "leave invert_mask=True out",
}

FindMarks = Callable[[Job, Picture], Marks]


def filling(session: Session, plan: Plan, options: RestoreOptions) -> tuple[Restorer, Change]:
    """Return a restorer, and a function that fills the holes of each picture of a plan.

    Args:
        session: the model.
        plan: the pictures.
        options: how; `mask` or `mask_color`, `invert_mask`, `grow`, `overlap` and `batch` count.

    Raises:
        UsageError: there are videos, a result would overwrite a mask, or as `find_by_mask` and `find_by_color` raise
            it.
        ModelError: the model was not trained to fill holes.
    """
    if any(job.video for job in plan.jobs):
        raise UsageError("holes are filled in images: leave the videos out")
    if options.mask is not None:
        _refuse_over_masks(plan, options.mask)
    inpainter = Inpainter(Restorer(session, batch=options.batch, overlap=options.overlap, pin_threads=True))
    mask, inverted = options.mask, options.invert_mask
    find = find_by_color(options.mask_color or "") if mask is None else find_by_mask(mask, plan.folder, inverted)
    nothing = f"has no pixel of the color {options.mask_color}" if mask is None else _NOTHING[inverted]
    alone = len(plan.jobs) == 1

    def filled(job: Job, picture: Picture, progress: Progress | None) -> Changed:
        if picture.animation or picture.pages:
            raise ImageError("has several frames or pages: holes are filled in single images")
        marks = adjusted(find(job, picture), invert=inverted, grow=options.grow)
        share = float((marks > 0).mean())
        if share == 0 and alone:
            raise ImageError(nothing)
        if share == 0:
            return Changed(picture.pixels, (Note("nothing marked", f"it {nothing}. It was copied unchanged"),), share)
        if share == 1:
            raise ImageError("cannot be filled: its mask covers all of it")
        with memory_errors():
            pixels = inpainter(picture.pixels, marks, progress=progress)
        return Changed(pixels, _notes(share, options), share)

    return inpainter.restorer, filled


def _notes(share: float, options: RestoreOptions) -> tuple[Note, ...]:
    """Return the notes for the user on a picture of which a share, 0..1, was filled."""
    notes = [Note("filled", f"{100 * share:.3g} % of its pixels were filled")]
    if share > _MOST:
        hint = "" if options.mask is None else f": if the mask is inverted, {_TURNED[options.invert_mask]}"
        notes.append(
            Note("mostly filled", f"more than half of it was filled, so little of the original picture is left{hint}")
        )
    return tuple(notes)


def _refuse_over_masks(plan: Plan, mask: Path) -> None:
    folder = mask if path_kind(mask, "mask") == "folder" else None
    for job in plan.jobs:
        if isinstance(job.output, Address):
            continue
        if (folder or mask).resolve() in (job.output.resolve(), *job.output.resolve().parents[: None if folder else 0]):
            raise UsageError(
                f"output {str(job.output)!r} would be written over or among the masks: choose another output"
            )


def find_by_color(text: str) -> FindMarks:
    """Return a function that finds the pixels of one color.

    Args:
        text: `#rrggbb` or `#rgb`, as on a web page.

    Raises:
        UsageError: it is neither.
    """
    if not re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text):
        raise UsageError(f"mask_color is {text!r}: it must be a color like '#ff00ff'")
    digits = text.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == _COLORS else digits
    bgr = np.frombuffer(bytes.fromhex(digits), np.uint8)[::-1]

    def find(_job: Job, picture: Picture) -> Marks:
        if picture.lossy:
            unsure = picture.format in (JP2, J2K)
            kind = f"{picture.format}, which may" if unsure else f"lossy {picture.format}, which does"
            raise ImageError(f"is a {kind} not keep a color exactly: mark the holes in a PNG, or use a mask")
        if picture.pixels.dtype == np.float32:
            raise ImageError("has floating-point values, in which no color marks holes: use a mask")
        colors = colors_of(picture.pixels)
        holes = (colors == bgr.astype(colors.dtype) * (np.iinfo(colors.dtype).max // 255)).all(axis=2)
        return marks_of(holes)

    return find


def find_by_mask(mask: Path, folder: Place, inverted: bool) -> FindMarks:
    """Return a function that finds what a mask marks.

    Args:
        mask: the mask for all pictures, or a folder with one mask per picture, at the same relative path as the result
            in `folder`, with any suffix.
        folder: where the results go.
        inverted: see `marks_in`.

    Raises:
        UsageError: there is no such file or folder.
    """
    kind = path_kind(mask, "mask")
    if kind == "missing":
        raise UsageError(f"mask {str(mask)!r} does not exist")
    read = functools.lru_cache(maxsize=1)(_read_mask)  # a mask for all pictures is decoded only once

    def find(job: Job, picture: Picture) -> Marks:
        path = _mask_in(mask / below(job.output.parent, folder), job.source.stem) if kind == "folder" else mask
        seen = read(path, inverted)
        marks = np.empty(picture.pixels.shape[:2], np.uint8)
        as_seen = upright(marks, picture.orientation)
        if as_seen.shape != seen.shape:
            raise ImageError(f"has {_size(as_seen)} pixels, its mask {str(path)!r} has {_size(seen)}")
        as_seen[...] = seen
        return marks

    return find


def _read_mask(path: Path, inverted: bool) -> Marks:
    try:
        return marks_in(path, inverted=inverted)
    except ImageError as e:
        raise ImageError(f"cannot be filled: its mask {str(path)!r} {e}") from e


def marks_in(path: Path, *, inverted: bool = False) -> Marks:
    """Return the marks of a mask's file, upright: its brightest channel where it is opaque.

    If that marks nothing, as with black strokes on a transparent layer, what is opaque is marked.

    Args:
        path: the file.
        inverted: the marks will be inverted. Then of a file with transparent pixels all that is opaque is marked, so
            that just what was erased is left.

    Raises:
        ImageError: it cannot be read, or has several frames or pages, or floating-point values.
    """
    drawn = _drawn(path)
    pixels = upright(drawn.pixels, drawn.orientation)
    colors = colors_of(pixels)
    marks = marks_of(colors.max(axis=2), of_two=not drawn.lossy)
    if pixels.ndim == colors.ndim and pixels.shape[2] > colors.shape[2]:
        opaque = marks_of(pixels[..., -1], of_two=False)
        marks = np.minimum(marks, opaque)
        if not opaque.all() and (inverted or not marks.any()):
            return opaque
    return marks


def _drawn(path: Path) -> Picture:
    """Decode a mask, one picture of integers."""
    drawn = decode(read_file(path))
    if drawn.animation or drawn.pages:
        raise ImageError("has several frames or pages: save the one that is the mask as a file of its own")
    if drawn.pixels.dtype == np.float32:
        raise ImageError(FLOATING)
    return drawn


def _mask_in(folder: Path, stem: str) -> Path:
    """The image of this name in a folder, with any suffix."""
    try:
        found = [p for p in sorted(folder.iterdir()) if p.stem == stem and _is_mask(p)]
    except OSError:
        found = []
    if len(found) == 1:
        return found[0]
    if found:
        raise ImageError(f"cannot be filled: it has two masks, {str(found[0])!r} and {str(found[1])!r}")
    raise ImageError(f"cannot be filled: it has no mask {str(folder / stem)!r} ({', '.join(SUFFIXES_READ)})")


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES_READ and path.is_file()  # not a pipe: opening one could block forever


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
