"""Animated pictures: PNG, WebP, AVIF and GIF of several frames, read and written by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ImageFormatError
from cae_runtime.io.arrays import from_limited_range
from cae_runtime.io.decoding import apng, webp
from cae_runtime.io.formats import AVIF, GIF, PNG, SUFFIX_OF_FORMAT, WEBP
from cae_runtime.io.headers import gif
from cae_runtime.io.headers.boxed.heif import HeifHeader
from cae_runtime.io.headers.header import Header
from cae_runtime.io.orientation import upright
from cae_runtime.io.stderr import quiet

WRITTEN: Final = {PNG, WEBP, AVIF}
_OPAQUE: Final = 255
_WITH_ALPHA: Final = 4  # channels
_FLAGS, _ALPHA = 20, 0x10  # of a WebP: where its flags are, and which says that it has alpha
LOSSLESS: Final = 101  # OpenCV's quality for a lossless WebP
AVIF_SPEED: Final = 6  # 0 is the slowest


@dataclass(frozen=True)
class Animation:
    """The frames of an animated picture.

    Attributes:
        frames: uint8, all of one shape (H, W, 3) BGR or (H, W, 4) BGRA, complete: each shows what is seen.
        milliseconds: how long each is shown.
        loops: how often all are shown; 0: forever.
    """

    frames: tuple[NDArray[np.uint8], ...]
    milliseconds: tuple[int, ...]
    loops: int


def decode(data: bytes, header: Header, orientation: int = 1) -> Animation:
    """Decode an animated picture.

    Args:
        data: the whole file.
        header: its header, with more than one frame.
        orientation: turns every frame upright.

    Raises:
        ImageError: a frame is missing or damaged, or has more than 8 bits.
    """
    try:
        with quiet():
            if header.format == WEBP:
                webp.check(data, header)
            file = gif.with_alpha(data) if header.format == GIF else data
            row = np.frombuffer(file, np.uint8)[None]  # OpenCV 4 takes a column of WebP or AVIF for damaged
            done, found = cv2.imdecodeanimation(row)
    except cv2.error as e:
        if getattr(e, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError from e
        raise _damaged(header) from e
    frames: list[NDArray[Any]] = [np.asarray(frame) for frame in found.frames] if done else []
    shapes = {frame.shape[:2] for frame in frames}
    stored = (header.width, header.height) if orientation >= 5 else (header.height, header.width)
    if len(frames) != header.frames or shapes != {stored}:
        raise _damaged(header)
    if any(frame.dtype != np.uint8 for frame in frames):
        raise ImageError(f"is an animated {header.format} of more than 8 bits, which is not read")
    if isinstance(header, HeifHeader) and header.limited:
        frames = [from_limited_range(frame, 8) for frame in frames]
    if header.format == PNG:
        frames = apng.with_uncovered(frames, data)
    turned = [np.ascontiguousarray(upright(frame, orientation)) for frame in _alike(frames)]
    return Animation(tuple(turned), tuple(map(int, found.durations)), int(found.loop_count))


def encode(animation: Animation, format: str, quality: int, *, lossless: bool) -> bytes:
    """Encode an animation.

    Args:
        animation: what to write.
        format: one of `WRITTEN`.
        quality: of WebP and AVIF, 1..100.
        lossless: whether a WebP keeps every value; `quality` does not count then.

    Raises:
        ImageError: OpenCV does not take it.
    """
    settings: list[int] = []
    if format == WEBP:
        settings = [cv2.IMWRITE_WEBP_QUALITY, LOSSLESS if lossless else quality]
    elif format == AVIF:
        settings = [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_DEPTH, 8, cv2.IMWRITE_AVIF_SPEED, AVIF_SPEED]
    encoded = _encoded(animation, format, settings)
    if format == WEBP and animation.frames[0].shape[2] == _WITH_ALPHA and not encoded[_FLAGS] & _ALPHA:
        # libwebp drops an alpha of 0 and 255 alone from some drawings; 1 of 255 cannot be seen and keeps it.
        first = animation.frames[0].copy()
        first[..., 3] = np.maximum(first[..., 3], 1)
        encoded = _encoded(replace(animation, frames=(first, *animation.frames[1:])), format, settings)
        if not encoded[_FLAGS] & _ALPHA:
            raise ImageFormatError("loses its transparency in an animated WebP: write a PNG")
    return encoded


def _encoded(animation: Animation, format: str, settings: list[int]) -> bytes:
    target = cv2.Animation()
    target.frames = list(animation.frames)
    target.durations = np.array(animation.milliseconds, np.int32)  # type: ignore[assignment]
    target.loop_count = animation.loops
    try:
        with quiet():
            done, encoded = cv2.imencodeanimation(SUFFIX_OF_FORMAT[format], target, settings)
    except (cv2.error, MemoryError) as e:
        raise ImageError(f"cannot be encoded as an animated {format}") from e
    if not done or len(encoded) == 0:
        height, width = animation.frames[0].shape[:2]
        raise ImageFormatError(f"cannot be encoded as an animated {format} with {width}x{height} pixels: write a PNG")
    return bytes(encoded.tobytes())


def _alike(frames: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return frames of one number of channels: color, with alpha only where some pixel is not opaque."""
    colored = [cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame for frame in frames]
    if any(frame.shape[2] == 4 and (frame[..., 3] != _OPAQUE).any() for frame in colored):
        return [frame if frame.shape[2] == 4 else cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA) for frame in colored]
    return [np.ascontiguousarray(frame[..., :3]) for frame in colored]


def _damaged(header: Header) -> ImageError:
    return ImageError(f"cannot be decoded: its {header.format} data is damaged, or frames of it are missing")
