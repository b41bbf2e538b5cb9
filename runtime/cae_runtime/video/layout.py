"""How a video is written: pixel format and size, and what the conversion loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from av.video.format import VideoFormat

from cae_runtime.errors import VideoError
from cae_runtime.io.formats import PIXEL_FORMATS, SMALLEST, TEN_BITS
from cae_runtime.video.properties import EIGHT, VideoProperties

_TEN: Final = 10
_EVEN_ONLY: Final = {"h264", "h265"}


@dataclass(frozen=True)
class Layout:
    """How a video is written.

    Attributes:
        pixel_format: such as `yuv420p`.
        width: pixels of a row.
        height: rows.
        lost: what of the source these cannot hold.
    """

    pixel_format: str
    width: int
    height: int
    lost: frozenset[str]


def layout_for(properties: VideoProperties, codec: str, wanted: str | None) -> Layout:
    """Choose how to write a video.

    Args:
        properties: of the source.
        codec: of the output.
        wanted: the pixel format; None takes the source's chroma resolution, for RGB `yuv420p`, and its depth if the
            codec holds that.

    Raises:
        VideoError: the frames are too small for the encoder.
    """
    lost: set[str] = set()
    pixel_format = wanted or _pixel_format(properties, codec, lost)
    width, height = _size(properties, codec, pixel_format, lost)
    bits = _TEN if pixel_format.endswith(TEN_BITS) else EIGHT
    if properties.bits > bits:
        lost.add(f"{properties.bits} bits per channel ({bits} are written)")
    return Layout(pixel_format, width, height, frozenset(lost))


def _pixel_format(properties: VideoProperties, codec: str, lost: set[str]) -> str:
    possible = PIXEL_FORMATS[codec]
    if properties.layout in possible and not properties.is_rgb:
        return properties.layout
    written = f"yuv420p{TEN_BITS if properties.deep else ''}"
    if properties.layout == written:
        return written
    keeps_it = f"; pixel format {properties.layout} keeps it" if properties.layout in possible else ""
    lost.add(f"full chroma (4:2:0 is written{keeps_it})")
    return written


def _size(properties: VideoProperties, codec: str, pixel_format: str, lost: set[str]) -> tuple[int, int]:
    """Return width and height to write: some encoders need multiples of the chroma subsampling.

    Raises:
        VideoError: the frames are too small for the encoder.
    """
    size = properties.width, properties.height
    least = SMALLEST[codec]
    if size[0] < least[0] or size[1] < least[1]:
        raise VideoError(
            f"has {size[0]}x{size[1]} pixels: {codec} takes {least[0]}x{least[1]} and more, choose another codec"
        )
    if codec not in _EVEN_ONLY:
        return size
    chroma = VideoFormat(pixel_format, 64, 64)
    steps = 64 // chroma.chroma_width(), 64 // chroma.chroma_height()
    written = size[0] + -size[0] % steps[0], size[1] + -size[1] % steps[1]
    if written != size:
        odd = " and ".join(name for name, a, b in zip(("column", "row"), size, written, strict=True) if a != b)
        now = f"{written[0]}x{written[1]} is written, the last {odd} repeated"
        full = f"yuv444p{TEN_BITS if pixel_format.endswith(TEN_BITS) else ''}"
        lost.add(f"odd size ({now}; pixel format {full} keeps it)")
    return written
