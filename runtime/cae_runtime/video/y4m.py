"""Reads and writes yuv4mpeg streams, by which ffmpeg and other programs hand on uncompressed video.

A stream is one line on all frames, and then for each frame a line and its planes: brightness, and two of color.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import VideoError
from cae_runtime.io.image_files import PIXELS_MAX

MAGIC: Final = b"YUV4MPEG2 "
_LINE_MAX: Final = 1024  # bytes
_FRAME: Final = b"FRAME"
_SAMPLING: Final = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "411": (4, 1), "mono": (0, 0)}
_SITES: Final = frozenset({"420jpeg", "420mpeg2", "420paldv"})  # where chroma lies: the change of it is not moved
_KNOWN: Final = "420, 422, 444, 411 and mono of 8 to 16 bits"
_INTERLACED: Final = {"t", "b", "m"}  # the top or the bottom field first, or some frames
_HD: Final = 720  # rows from which on the matrix is that of ITU-R BT.709, and not BT.601
_LUMA: Final = {False: (0.299, 0.114), True: (0.2126, 0.0722)}  # of red and blue

Planes = list[NDArray[Any]]


@dataclass(frozen=True)
class Y4mHeader:
    """What all frames of a stream have in common.

    Attributes:
        line: the line itself, with its end.
        width: of a frame.
        height: of a frame.
        sampling: pixels per sample of color, across and down; (0, 0): there is no color.
        bits: of a sample, 8..16.
        full: whether samples use the full range.
        interlaced: whether frames consist of two fields, as the stream says.
    """

    line: bytes
    width: int
    height: int
    sampling: tuple[int, int]
    bits: int
    full: bool
    interlaced: bool

    @property
    def white(self) -> int:
        """The level of white of `to_bgr`."""
        return 255 if self.bits == 8 else 65535

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of each plane."""
        across, down = self.sampling
        first = (self.height, self.width)
        return [first] if not across else [first, *[(-(-self.height // down), -(-self.width // across))] * 2]


def read_header(stream: BinaryIO, begin: bytes = b"") -> Y4mHeader:
    """Read the first line of a stream.

    Args:
        stream: the stream.
        begin: what was read of it already.

    Raises:
        VideoError: it is damaged, or in a format that is not read.
    """
    line = begin + stream.readline(_LINE_MAX)
    if not line.startswith(MAGIC) or not line.endswith(b"\n"):
        raise VideoError("is not a yuv4mpeg stream, or is cut off in its first line")
    words = line[len(MAGIC) :].decode("ascii", "replace").split()
    fields = {word[0]: word[1:] for word in words if word[0] != "X"}
    sides = [fields.get(name, "") for name in "WH"]
    if not all(re.fullmatch("[0-9]+", side) for side in sides):
        raise VideoError("is damaged: its first line gives no width and height")
    width, height = map(int, sides)
    if width < 1 or height < 1 or width * height > PIXELS_MAX:
        raise VideoError(f"has {width}x{height} pixels: the limits are 1 and {PIXELS_MAX} pixels")
    sampling, bits = _layout(fields.get("C", "420"))
    gray = sampling == (0, 0)
    full = "XCOLORRANGE=FULL" in words or (gray and "XCOLORRANGE=LIMITED" not in words)
    return Y4mHeader(line, width, height, sampling, bits, full, fields.get("I", "")[:1] in _INTERLACED)


def _layout(name: str) -> tuple[tuple[int, int], int]:
    """Return pixels per sample of color, and bits, of a layout such as `420jpeg`, `422p10` or `mono12`.

    Raises:
        VideoError: it is not read.
    """
    plain = "420" if name in _SITES else name
    for begin, sampling in _SAMPLING.items():
        rest = plain.removeprefix(begin)
        depth = rest.removeprefix("" if begin == "mono" else "p")
        if plain.startswith(begin) and (not rest or (depth.isdecimal() and 8 <= int(depth) <= 16)):
            return sampling, int(depth or 8)
    raise VideoError(f"has frames of layout {name!r}: {_KNOWN} are read")


def read_frames(stream: BinaryIO, header: Y4mHeader) -> Iterator[tuple[bytes, Planes]]:
    """Yield each frame: its line, and its planes of uint8 or uint16.

    Raises:
        VideoError: the stream ends within a frame, or is damaged.
    """
    number = 0
    dtype = np.dtype("u1" if header.bits == 8 else "<u2")
    while line := stream.readline(_LINE_MAX):
        number += 1
        if not line.startswith(_FRAME) or not line.endswith(b"\n"):
            raise VideoError(f"is damaged before frame {number}")
        planes = []
        for rows, columns in header.shapes:
            wanted = rows * columns * dtype.itemsize
            data = stream.read(wanted)
            if len(data) < wanted:
                raise VideoError(f"ends within frame {number}")
            planes.append(np.frombuffer(data, dtype).reshape(rows, columns))
        yield line, planes


def write_frame(stream: BinaryIO, line: bytes, planes: Planes) -> None:
    """Write a frame."""
    stream.write(line)
    for plane in planes:
        stream.write(np.ascontiguousarray(plane).data)


def to_bgr(planes: Planes, header: Y4mHeader) -> NDArray[Any]:
    """Return a frame as (H, W, 3), BGR: uint8, or uint16 if samples have more than 8 bits."""
    bias, scale = _ranges(header)
    values = [(plane.astype(np.float32) - low) * by for plane, low, by in zip(planes, bias, scale, strict=False)]
    white, dtype = header.white, np.uint8 if header.bits == 8 else np.uint16
    if len(values) == 1:
        gray = values[0].clip(0, white)
        return np.repeat(np.rint(gray).astype(dtype)[..., None], 3, axis=2)
    size = (header.width, header.height)
    colors = [values[0], *(cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in values[1:])]
    bgr = cv2.transform(np.dstack(colors), np.linalg.inv(_to_yuv(header)).astype(np.float32))
    result: NDArray[Any] = np.rint(bgr).clip(0, white).astype(dtype)
    return result


def changed(planes: Planes, header: Y4mHeader, before: NDArray[Any], after: NDArray[Any]) -> Planes:
    """Return a frame to which the change between two pictures is added: what does not change stays exactly as it is.

    Args:
        planes: of the frame.
        header: of the stream.
        before: what `to_bgr` made of it.
        after: what became of that.
    """
    change = after.astype(np.float32) - before
    if len(planes) == 1:
        steps = [change.mean(axis=2)]
    else:
        yuv = cv2.transform(change, _to_yuv(header).astype(np.float32))
        across, down = header.sampling
        rows, columns = planes[1].shape
        wider = ((0, rows * down - header.height), (0, columns * across - header.width))
        steps = [yuv[..., 0]]
        for number in (1, 2):
            plane = np.pad(yuv[..., number], wider, mode="edge")
            steps.append(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA))
    top = 2**header.bits - 1
    return [
        np.rint(plane + step / by).clip(0, top).astype(plane.dtype)
        for plane, step, by in zip(planes, steps, _ranges(header)[1], strict=False)
    ]


def _ranges(header: Y4mHeader) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return for each plane the sample that means 0, and the levels of `to_bgr` that a sample is worth."""
    unit, white = float(2 ** (header.bits - 8)), header.white
    gray = white / (2**header.bits - 1) if header.full else white / 219 / unit
    color = white / (2**header.bits - 1) if header.full else white / 224 / unit
    return (0.0 if header.full else 16 * unit, 128 * unit, 128 * unit), (gray, color, color)


def _to_yuv(header: Y4mHeader) -> NDArray[np.float64]:
    """Return the matrix from BGR to brightness and two differences of color, all in equal levels."""
    red, blue = _LUMA[header.height >= _HD]
    luma = np.array([blue, 1 - red - blue, red])
    first = (np.array([1, 0, 0]) - luma) / (2 * (1 - blue))
    second = (np.array([0, 0, 1]) - luma) / (2 * (1 - red))
    return np.stack([luma, first, second])
