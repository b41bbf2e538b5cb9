"""Fills holes in pictures: only what the mask marks changes, where the output format is lossless.

A model that was trained on patches with holes (`--degrade mask`) knows them by their colour, `FILL`. It is asked for
the whole of a hole and answers well near what is known: so pixels are taken over that lie up to a quarter of a patch
from known ones, then those count as known, and so on inwards until the hole is closed.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import check_image, checked_mask
from cae_runtime.errors import ImageError, ModelError, UsageError
from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.inference.session import Session
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, JPEG
from cae_runtime.io.image_files import Picture, colors_of, decode, memory_errors, read_file
from cae_runtime.io.orientation import upright
from cae_runtime.jobs.images import Clean
from cae_runtime.jobs.planning import Job, Plan, is_folder
from cae_runtime.tasks.restore import Restorer

FILL: Final = {3: (1.0, 0.0, 1.0), 1: (128 / 255,)}  # what a missing pixel is to a model of so many channels
CORRUPTION: Final = "mask"  # in the model's `degradation`
_COLORS: Final = 3
_TILE: Final = 8  # patches along a side of what is filled at once

Holes = NDArray[np.bool_]
FindHoles = Callable[[Job, Picture], Holes]


class Inpainter:
    """Fills holes with a model that was trained with `--degrade mask`, as `cae-run --mask` does.

    Args:
        model: a file that `cae-export` wrote, an opened one, or a `Restorer` of it. The other arguments are for what is
            no `Restorer` yet.
        provider: as `Restorer` takes it.
        threads: as there.
        batch: as there.
        overlap: pixels shared by neighbouring patches; None takes half a patch, or more where the model wants it, so
            that every pixel of a hole is seen together with what surrounds it. A `Restorer` keeps one that was named.
        color: as `Restorer` takes it.

    Attributes:
        restorer: what runs the model.

    `with` closes it at the end; a session or restorer that was passed in stays open.

    Raises:
        ModelError: the model cannot be used, or was not trained to fill holes.
        ProviderError: as `Restorer` raises it.
        UsageError: an argument is not as listed above (where its type is another, a TypeError too).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Session | Restorer,
        *,
        provider: str = "auto",
        threads: int | None = None,
        batch: int | None = None,
        overlap: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        own = None
        if isinstance(model, Restorer):
            if (provider, threads, batch, overlap, color) != ("auto", None, None, None, "bgr"):
                raise UsageError(
                    "an Inpainter of a Restorer takes no other argument: name them when the latter is made"
                )
            self.restorer = model.for_holes()
        else:
            own = Restorer(model, provider=provider, threads=threads, batch=batch, overlap=overlap, color=color)
            self.restorer = own.for_holes()
        self._own, spec = own, self.restorer.spec
        if not fills_holes(spec):
            self.close()
            raise ModelError(
                f"model {str(self.restorer.session.path)!r} was trained on {spec.degradation or 'nothing'!r}: "
                "filling holes needs one that was trained with --degrade mask"
            )
        self._reach = spec.patch // 4

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and close the model, unless they were passed in; used afterwards, it is a `UsageError`."""
        if self._own is not None:
            self._own.close()

    def __call__(self, image: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        """Fill the holes of a picture.

        Args:
            image: as `Restorer` takes it.
            mask: what is to be filled, shape (H, W) or (H, W, 1): bool, true there; or uint8 or uint16, brighter than
                half there. Integers of which there are only 0 and 1, or 0 and 255, are masks whatever their dtype.

        Returns:
            A new array of the same shape and dtype, equal to `image` outside of the holes, and in alpha.

        Raises:
            ImageError: the mask is none of the above (where its dtype is another, a TypeError too), or covers the whole
                image; or as `Restorer` raises it.
            ProviderError: the provider failed while it ran.
            UsageError: the inpainter was closed.
        """
        check_image(image)
        holes = checked_mask(mask)
        if holes.shape != image.shape[:2]:
            raise ImageError(f"the image has {_size(image)} pixels, its mask {_size(holes)}: they must be of one size")
        result = image.copy(order="C")
        if not holes.any():
            return result
        if holes.all():
            raise ImageError("cannot be filled: its mask covers all of it")
        known, channels = colors_of(result), self.restorer.spec.channels
        colors = np.repeat(known, channels, axis=2) if known.shape[2] < channels else known
        fill = FILL[min(channels, colors.shape[2])]
        colors[holes] = np.rint(np.multiply(fill, np.iinfo(image.dtype).max)).astype(image.dtype)
        missing = holes.copy()
        while missing.any():
            region = _around(missing, self.restorer.spec.patch)
            part = missing[region]
            depth = cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            ring = part & (depth <= self._reach)
            self._fill(colors[region], ring)
            part &= ~ring
        if colors is not known:  # a grey picture, filled in colours that are all but grey
            known[holes] = np.rint(colors[holes].mean(axis=1, keepdims=True)).astype(image.dtype)
        return result

    def _fill(self, colors: NDArray[Any], ring: Holes) -> None:
        """Fill the pixels of a ring, tile by tile: what is far from it is not looked at."""
        patch = self.restorer.spec.patch
        made = []
        for top in range(0, ring.shape[0], _TILE * patch):
            for left in range(0, ring.shape[1], _TILE * patch):
                tile = np.s_[top : top + _TILE * patch, left : left + _TILE * patch]
                if ring[tile].any():
                    only = np.zeros_like(ring)
                    only[tile] = ring[tile]
                    region = _around(only, patch)
                    made.append((region, only[region], self._restored(colors[region])[only[region]]))
        for region, part, values in made:
            colors[region][part] = values

    def _restored(self, colors: NDArray[Any]) -> NDArray[Any]:
        """What the model makes of (H, W, 1 or 3); a model of 1 channel sees each colour as a grey picture."""
        pixels = np.ascontiguousarray(colors)
        if self.restorer.spec.channels == 1:
            return np.stack([self.restorer(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels, 2, 0)], 2)
        return self.restorer(pixels)


def fills_holes(spec: ModelSpec) -> bool:
    """Tell whether a model was trained on holes; what is missing must be so in the end."""
    last = spec.degradation.split()[-1:]
    return any(name.partition(":")[0] == CORRUPTION for stage in last for name in stage.split(","))


def _around(holes: Holes, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the part of a picture that holds all holes, with a margin."""
    ys, xs = (np.flatnonzero(holes.any(axis=axis)) for axis in (1, 0))
    height, width = holes.shape
    return (
        slice(max(0, int(ys[0]) - margin), min(height, int(ys[-1]) + 1 + margin)),
        slice(max(0, int(xs[0]) - margin), min(width, int(xs[-1]) + 1 + margin)),
    )


def filling(
    session: Session, plan: Plan, mask: Path | None, color: str | None, overlap: int | None, batch: int | None
) -> tuple[Restorer, Clean]:
    """Return a restorer, and what fills the holes of each picture of a plan with it.

    Args:
        session: the model.
        plan: the pictures.
        mask: as `find_by_mask` takes it, or None.
        color: as `find_by_color` takes it, or None.
        overlap: as `Inpainter` takes it.
        batch: patches a call of the model, or None.

    Raises:
        UsageError: there are videos, a result would take a mask's place, or as `find_by_mask` and `find_by_color`
            raise it.
        ModelError: the model was not trained to fill holes.
    """
    if any(job.video for job in plan.jobs):
        raise UsageError("holes are filled in images: name no videos with --mask and --mask-color")
    if mask is not None:
        _refuse_over_masks(plan, mask)
    inpainter = Inpainter(Restorer(session, batch=batch, overlap=overlap, pin_threads=True))
    find = find_by_color(color or "") if mask is None else find_by_mask(mask, plan.folder)

    def filled(job: Job, picture: Picture) -> NDArray[Any]:
        with memory_errors():
            return inpainter(picture.pixels, find(job, picture))

    return inpainter.restorer, filled


def _refuse_over_masks(plan: Plan, mask: Path) -> None:
    folder = mask if is_folder(mask, "--mask") else None
    for job in plan.jobs:
        if (folder or mask).resolve() in (job.output.resolve(), *job.output.resolve().parents[: None if folder else 0]):
            raise UsageError(f"output {str(job.output)!r} would lie on or among the masks of --mask: choose another -o")


def find_by_color(text: str) -> FindHoles:
    """Return what finds the pixels of one colour.

    Args:
        text: `#rrggbb` or `#rgb`, as on a web page.

    Raises:
        UsageError: it is neither.
    """
    if not re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text):
        raise UsageError(f"--mask-color is {text!r}: it must be a colour like '#ff00ff'")
    digits = text.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == _COLORS else digits
    bgr = np.frombuffer(bytes.fromhex(digits), np.uint8)[::-1]

    def find(_job: Job, picture: Picture) -> Holes:
        if picture.format == JPEG:
            raise ImageError("is a JPEG, which does not keep a colour exactly: mark in a PNG, or name a --mask")
        colors = colors_of(picture.pixels)
        holes: Holes = (colors == bgr.astype(colors.dtype) * (np.iinfo(colors.dtype).max // 255)).all(axis=2)
        if not holes.any():
            raise ImageError(f"has no pixel of the colour #{digits.lower()}")
        return holes

    return find


def find_by_mask(mask: Path, folder: Path) -> FindHoles:
    """Return what finds the pixels that a mask shows brighter than half.

    Args:
        mask: the mask of all pictures, or a folder that holds one for each, where its result will be in `folder` and of
            the same name but for the ending.
        folder: where the results go.

    Raises:
        UsageError: there is no such file or folder.
    """
    of_many = is_folder(mask, "--mask")
    if of_many is None:
        raise UsageError(f"--mask {str(mask)!r} does not exist")
    read = functools.lru_cache(maxsize=1)(_read_mask)  # one mask of all pictures is decoded once

    def find(job: Job, picture: Picture) -> Holes:
        path = _mask_in(mask / job.output.parent.relative_to(folder), job.source.stem) if of_many else mask
        seen = read(path)
        holes = np.empty(picture.pixels.shape[:2], np.bool_)
        as_seen = upright(holes, picture.orientation)
        if as_seen.shape != seen.shape:
            raise ImageError(f"has {_size(as_seen)} pixels, its mask {str(path)!r} has {_size(seen)}")
        as_seen[...] = seen
        return holes

    return find


def _read_mask(path: Path) -> Holes:
    """Where a mask is brighter than half, and not transparent, as it is to be seen."""
    try:
        drawn = decode(read_file(path))
    except ImageError as e:
        raise ImageError(f"cannot be filled: its mask {str(path)!r} {e}") from e
    pixels = upright(drawn.pixels, drawn.orientation)
    half = np.iinfo(pixels.dtype).max // 2
    colors = colors_of(pixels)
    holes: Holes = colors.max(axis=2) > half
    if pixels.ndim == 3 and pixels.shape[2] > colors.shape[2]:
        holes &= pixels[..., -1] > half
    return holes


def _mask_in(folder: Path, stem: str) -> Path:
    """The image of this name in a folder, whatever its ending."""
    try:
        found = [p for p in sorted(folder.iterdir()) if p.stem == stem and _is_mask(p)]
    except OSError:
        found = []
    if len(found) == 1:
        return found[0]
    if found:
        raise ImageError(f"cannot be filled: it has two masks, {str(found[0])!r} and {str(found[1])!r}")
    raise ImageError(f"cannot be filled: it has no mask {str(folder / stem)!r} ({', '.join(FORMAT_OF_SUFFIX)})")


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in FORMAT_OF_SUFFIX and path.is_file()  # not a pipe: opening one could wait for ever


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
