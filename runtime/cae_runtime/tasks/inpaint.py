"""Fills holes in pictures: only masked pixels change, if the output format is lossless.

A model that was trained on patches with holes recognizes them by their color, the `fill` in its file. Its output is
good near known pixels. So of a hole that is wider than a quarter of a patch only the pixels next to known ones are
taken over; then these count as known, and so on inwards until the hole is closed. Where there are such holes, no pixel
gets a color beyond those around it (`surrounding_colors.py`).
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Final, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress, check_function, check_image
from cae_runtime.errors import ImageError, ModelError, UsageError
from cae_runtime.inference.model_files import FILLING_MODEL
from cae_runtime.inference.session import OnSession, Session
from cae_runtime.io.arrays import colors_of, full_scale
from cae_runtime.tasks.mask_values import FULL, adjusted, checked_marks
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.surrounding_colors import within_surroundings

_COLORS: Final = 3

Holes = NDArray[np.bool_]


class Inpainter(OnSession):
    """Fills holes with a model that was trained with the degradation `mask`, as `cae-run --mask` does.

    Args:
        model: the packaged `fill`, the path or the bytes of a file that `cae-export` wrote, an open session, or a
            `Restorer`. With a `Restorer`, the other arguments must keep their defaults.
        provider: see `Restorer`.
        threads: see `Restorer`.
        batch: see `Restorer`.
        overlap: pixels that a patch sees around the square in which it fills holes, both sides together; None means
            half a patch, or the model's recommendation if that is more, so that each pixel is filled with its
            surroundings in view. A `Restorer` keeps the overlap it was given.
        color: see `Restorer`.

    Attributes:
        restorer: runs the model.

    `with` closes it at the end; a session or restorer that you passed in stays open.

    Raises:
        ModelError: the model cannot be used, or was not trained to fill holes.
        ProviderError: see `Restorer`.
        UsageError: an argument is not as listed above (also a TypeError if its type is wrong).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Session | Restorer = FILLING_MODEL,
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
                    "an Inpainter made from a Restorer takes no other arguments: pass them to the Restorer"
                )
            self.restorer = model.for_holes()
        else:
            own = Restorer(model, provider=provider, threads=threads, batch=batch, overlap=overlap, color=color)
            self.restorer = own.for_holes()
        self._closes, spec = own, self.restorer.spec
        if spec.fill is None:
            self.close()
            raise ModelError(
                f"model {str(self.restorer.session.name)!r} does not fill holes: filling holes needs "
                f"{FILLING_MODEL!r}, or a model that was trained on masks (degradation mask)"
            )
        self._fill_value, self._reach, self._step = spec.fill, spec.patch // 8, max(1, 3 * spec.patch // 32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> Session:
        """The open session."""
        return self.restorer.session

    def close(self) -> None:
        """End the threads and close the model, unless you passed them in; later use raises `UsageError`."""
        if self._closes is not None:
            self._closes.close()

    def _own_all(self) -> None:
        self._closes = self.restorer

    def __call__(
        self,
        image: NDArray[Any],
        mask: NDArray[Any],
        *,
        invert: bool = False,
        grow: int = 0,
        progress: Progress | None = None,
    ) -> NDArray[Any]:
        """Fill the holes of a picture.

        Args:
            image: see `Restorer`.
            mask: marks the holes, shape (H, W) or (H, W, 1): bool, true in holes; or uint8 or uint16, white in holes.
                Gray blends: the result is image + mask * (filled - image). Up to an eighth of white is black, and from
                seven eighths on it is white. Integers of any dtype are masks too if they are only 0 and 1, or 0 and
                255.
            invert: fill what the mask does not mark.
            grow: pixels by which the holes are larger than what is marked, 0..100, as for a mask that is a little too
                tight.
            progress: called in this thread with how many pixels of the holes are filled and how many there are, after
                each batch of patches. An exception that it raises stops the work and comes out of this call.

        Returns:
            A new array of the same shape and dtype, equal to `image` outside of the holes and in alpha.

        Raises:
            ImageError: the mask is none of the above (where its dtype is another, a TypeError too), or covers the whole
                image; or see `Restorer`.
            ProviderError: the provider failed while running.
            UsageError: `invert` or `grow` is not as listed above (where its type is another, a TypeError too), or the
                inpainter was closed.
        """
        self.session.check_open()
        check_image(image)
        check_function("progress", progress)
        marks = adjusted(checked_marks(mask), invert=invert, grow=grow)
        if marks.shape != image.shape[:2]:
            raise ImageError(f"the image has {_size(image)} pixels, its mask {_size(marks)}: they must be of one size")
        result = image.copy(order="C")
        holes = marks > 0
        if not holes.any():
            return result
        if holes.all():
            raise ImageError("the image cannot be filled: its mask covers all of it")
        self._fill(colors_of(result), holes, progress)
        soft = holes & (marks < FULL)
        if soft.any():
            _blend(colors_of(image), colors_of(result), marks, soft)
        return result

    def _fill(self, known: NDArray[Any], holes: Holes, progress: Progress | None) -> None:
        """Fill the holes of a picture of color or gray, (H, W, 3 or 1), from their edges inwards."""
        channels = self.restorer.spec.channels
        colors = np.repeat(known, channels, axis=2) if known.shape[2] < channels else known
        colors[holes] = _as(known.dtype, np.multiply(self._fill_value, full_scale(known.dtype)))
        missing, total, wide = holes.copy(), int(holes.sum()), False
        while missing.any():
            region = _around(missing, self.restorer.spec.patch)
            part = missing[region]
            depth = cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            large = depth.max() > self._reach
            wide = wide or large
            ring = part & (depth <= (self._step if large else self._reach))
            white = full_scale(known.dtype)
            filled, new = total - int(missing.sum()), int(ring.sum())
            tell = None if progress is None else partial(_tell, progress, filled, new, total)
            made = self.restorer.at(colors[region], ring, part, tell) * white
            if wide:
                made = within_surroundings(made, colors[region], ring, part, 2 * self._reach)
            colors[region][ring] = _as(known.dtype, made.clip(0, white))
            part &= ~ring
        if colors is not known:  # a gray picture, filled in colors that are almost gray
            known[holes] = _as(known.dtype, colors[holes].mean(axis=1, keepdims=True))


def _tell(progress: Progress, filled: int, new: int, total: int, share: float) -> None:
    """Report the pixels that were filled before this ring, and a share of those that are new."""
    progress(filled + int(new * share), total)


def _blend(image: NDArray[Any], result: NDArray[Any], marks: NDArray[np.uint8], soft: Holes) -> None:
    """Mix the softly marked pixels of the result with those of the image."""
    share = marks[soft][:, None].astype(np.float32) / FULL
    result[soft] = _as(image.dtype, image[soft] * (1 - share) + result[soft] * share)


def _as(dtype: np.dtype[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Convert values to the dtype of an image, rounded unless it is float32."""
    return (values if dtype.kind == "f" else np.rint(values)).astype(dtype)


def _around(holes: Holes, margin: int) -> tuple[slice, slice]:
    """The rows and columns that contain all holes, with a margin."""
    ys, xs = (np.flatnonzero(holes.any(axis=axis)) for axis in (1, 0))
    height, width = holes.shape
    return (
        slice(max(0, int(ys[0]) - margin), min(height, int(ys[-1]) + 1 + margin)),
        slice(max(0, int(xs[0]) - margin), min(width, int(xs[-1]) + 1 + margin)),
    )


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
