"""Properties of a video besides its pixels: size, color, rotation, pixel shape; and which of these an output lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from cae_runtime.errors import VideoError
from cae_runtime.io.formats import TEN_BITS
from cae_runtime.video.hdr import Hdr, hdr_of, is_dolby_vision_alone

INTERPOLATION: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EIGHT: Final = 8  # bits
BGR: Final = ("bgr24", "bgr48le")  # the frames as arrays, of 8 bits and of more
UNSPECIFIED: Final = 2  # matrix, primaries and transfer; the range has 0
_MATRIX_OF_TAG: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # AVColorSpace to what swscale knows
_HD_HEIGHT: Final = 720
_COLORS: Final = 3
TIMECODE_TRACK: Final = "timecode track"
_TIMECODE: Final = "timecode"  # the name of a tag
_TURNED_NOT: Final = (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
_SIDE_DATA: Final = {
    Type.MASTERING_DISPLAY_METADATA: "HDR mastering display",
    Type.CONTENT_LIGHT_LEVEL: "HDR content light level",
    Type.AMBIENT_VIEWING_ENVIRONMENT: "HDR viewing environment",
    Type.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    Type.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    Type.DOVI_METADATA: "Dolby Vision metadata",
    Type.SPHERICAL: "spherical projection",
    Type.STEREO3D: "stereo 3D",
    Type.ICC_PROFILE: "icc",
    Type.GOP_TIMECODE: "timecode",
    Type.S12M_TIMECODE: "timecode",
}
# Tags that each container writes itself, or that describe the old encoding.
_OF_THE_CONTAINER: Final = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration", "vendor_id", "alpha_mode",
    "bps", "number_of_frames", "number_of_bytes",
}  # fmt: skip


@dataclass(frozen=True)
class VideoProperties:
    """The common properties of all frames of a video; tags are FFmpeg's numbers.

    Attributes:
        width: pixels of a row, as stored.
        height: rows, as stored.
        bits: of each channel in the source.
        layout: planar YUV with the chroma of the source and 8 or, if it has more and these are wanted, 10 bits, such as
            `yuv420p` or `yuv420p10le`.
        is_rgb: the source has RGB, not YUV.
        matrix: the conversion between YUV and BGR, for swscale.
        range: of YUV, `MPEG` or `JPEG`.
        tags: matrix, primaries, transfer and range as stored in the file, including unspecified ones.
        pixel_shape: width of a pixel divided by its height; None if it is 1 or unknown.
        display: the display matrix (rotation and mirroring), or None.
        side_data: what is said about the colors and the geometry beside the tags, by the names that reports use.
        hdr: the mastering display and the content light level, as FFmpeg stores them.
        lost: what no output can keep.
    """

    width: int
    height: int
    bits: int
    layout: str
    is_rgb: bool
    matrix: int
    range: int
    tags: tuple[int, int, int, int]
    pixel_shape: Fraction | None
    display: tuple[int, ...] | None
    side_data: frozenset[str]
    hdr: Hdr
    lost: frozenset[str]

    @property
    def deep(self) -> bool:
        """Whether frames are given as uint16."""
        return self.layout.endswith(TEN_BITS)


def properties_of(frame: av.VideoFrame, stream: VideoStream, deep: bool = False) -> VideoProperties:
    """Read the properties of a decoded frame.

    Args:
        frame: it.
        stream: where it comes from.
        deep: whether 10 bits are wanted where it has more than 8.

    Raises:
        VideoError: it has alpha, or colors that only Dolby Vision explains.
    """
    pixels = frame.format
    if not pixels.has_palette and any(component.is_alpha for component in pixels.components):
        raise VideoError("has an alpha channel, which would be lost")
    context = stream.codec_context
    matrix, primaries, transfer = (
        own if own != UNSPECIFIED else of_file
        for own, of_file in (
            (frame.colorspace, context.colorspace),
            (frame.color_primaries, context.color_primaries),
            (frame.color_trc, context.color_trc),
        )
    )
    tagged_range = frame.color_range or context.color_range or (2 if pixels.name.startswith("yuvj") else 0)
    if pixels.is_rgb:
        matrix, tagged_range = 1, ColorRange.MPEG.value
    guess = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    found: Any = frame.side_data  # PyAV's own types are wrong here
    side_data = {data.type for data in found}
    if is_dolby_vision_alone(found):
        raise VideoError(
            "is Dolby Vision of profile 5: without its metadata, which is not kept, nothing shows its colors right. "
            "Convert it to HDR10 first"
        )
    bits = max(component.bits for component in pixels.components)
    lost = set()
    if frame.interlaced_frame:
        lost.add("interlacing (written as whole frames)")
    display = None
    if Type.DISPLAYMATRIX in side_data:
        display = tuple(np.frombuffer(bytes(found[Type.DISPLAYMATRIX]), np.int32).tolist())
    shape = stream.sample_aspect_ratio
    return VideoProperties(
        frame.width,
        frame.height,
        bits,
        _layout_of(pixels) + (TEN_BITS if deep and bits > EIGHT else ""),
        pixels.is_rgb,
        _MATRIX_OF_TAG.get(matrix, guess.value),
        ColorRange.JPEG.value if tagged_range == ColorRange.JPEG.value else ColorRange.MPEG.value,
        (matrix, primaries, transfer, tagged_range),
        None if not shape or shape == 1 else shape,
        None if display == _TURNED_NOT else display,
        frozenset(name for kind, name in _SIDE_DATA.items() if kind in side_data),
        hdr_of(found),
        frozenset(lost),
    )


def lost_between(before: VideoProperties, after: VideoProperties) -> set[str]:
    """Return what an output lacks of its source."""
    names = ("color matrix", "color primaries", "color transfer")
    lost = {
        name
        for name, old, new in zip(names, before.tags[:3], after.tags[:3], strict=True)
        if old not in (new, UNSPECIFIED)
    }
    if before.range != after.range:
        lost.add("color range")
    if before.display not in (None, after.display):
        lost.add("rotation")
    if before.pixel_shape not in (None, after.pixel_shape):
        lost.add("pixel aspect ratio")
    return lost | (before.side_data - after.side_data)


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a file or stream, except those of its container."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _OF_THE_CONTAINER and not key.lower().startswith("_statistics")
    }


def is_timecode(stream: Stream) -> bool:
    """Return whether a stream is a timecode track; its video stream has the first timecode among its tags."""
    return stream.type == "data" and bool(_timecode_in(stream.metadata))


def timecode_of(container: InputContainer) -> str:
    """Return the first timecode of a file, of its streams or of all; empty if there is none."""
    all_tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    return next(filter(None, map(_timecode_in, all_tags)), "")


def _timecode_in(tags: Mapping[str, str]) -> str:
    return next((value for key, value in tags.items() if key.lower() == _TIMECODE), "")  # Matroska has it in capitals


def lost_tags(before: InputContainer, after: InputContainer) -> set[str]:
    """Return which tags and chapters of a file another file lacks."""
    have = {key.lower() for key in after.metadata}
    missing = sorted(key for key in kept_metadata(before.metadata) if key.lower() not in have)
    lost = {f"metadata ({', '.join(missing)})"} if missing else set[str]()
    if len(after.chapters()) < len(before.chapters()):
        lost.add("chapters")
    return lost


def _layout_of(pixels: VideoFormat) -> str:
    """Return the 8-bit planar YUV format with the color resolution of a format."""
    if pixels.is_rgb:
        return "yuv444p"
    if len(pixels.components) < _COLORS:  # gray
        return "yuv420p"
    probe = VideoFormat(pixels.name, 64, 64)
    if probe.chroma_height() == 64:
        return "yuv444p" if probe.chroma_width() == 64 else "yuv422p"
    return "yuv444p" if probe.chroma_width() == 64 else "yuv420p"
