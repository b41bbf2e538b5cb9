"""What HDR videos say about the display they were made on and about their brightest pixels, for the encoders."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from av.sidedata.sidedata import Type

# FFmpeg's AVMasteringDisplayMetadata: x and y of red, green, blue and white, and the least and largest luminance, each
# a fraction; whether the first eight are known; whether the others are. AVContentLightMetadata: the largest luminance
# of a pixel, and of the mean of a frame, in candela per square meter.
_DISPLAY: Final = struct.Struct("=20i2i")
_LIGHT: Final = struct.Struct("=2I")
_OFFSET: Final = struct.Struct("@N")  # of the header in FFmpeg's AVDOVIMetadata
_PROFILE, _FULL_RANGE = 4, 10  # bytes of that header (AVDOVIRpuDataHeader)
_NAMES: Final = ("R", "G", "B", "WP")
_COORDINATES: Final = 8
_H26X_UNITS: Final = (50_000, 10_000)  # x264 and x265 take whole numbers: parts of 1, and of a candela per square meter


@dataclass(frozen=True)
class Hdr:
    """The static HDR metadata of a video.

    Attributes:
        display: x and y of red, green, blue and white (CIE 1931), least and largest luminance in candela per square
            meter; empty if the file does not say.
        light: the largest luminance of a pixel, and of the mean of a frame; empty if the file does not say.
    """

    display: tuple[Fraction, ...] = ()
    light: tuple[int, ...] = ()

    def options(self, codec: str) -> dict[str, str]:
        """Return what an encoder has to be told, by the names of FFmpeg's options; empty if there is nothing.

        Args:
            codec: `h264`, `h265`, `vp9` (which has no room for it) or `av1`.
        """
        names = _OPTIONS.get(codec)
        if names is None:
            return {}
        option, of_display, of_light = names
        told = []
        if self.display:
            told.append(f"{of_display}={self._display(*(_H26X_UNITS if codec != 'av1' else (1, 1)))}")
        if self.light:
            told.append(f"{of_light}={self.light[0]},{self.light[1]}")
        return {option: ":".join(told)} if told else {}

    def _display(self, of_color: int, of_light: int) -> str:
        def number(value: Fraction, unit: int) -> str:
            return str(round(value * unit)) if unit > 1 else f"{float(value):.6f}"

        pairs = {
            name: [number(value, of_color) for value in self.display[2 * at : 2 * at + 2]]
            for at, name in enumerate(_NAMES)
        }
        pairs["L"] = [number(value, of_light) for value in reversed(self.display[_COORDINATES:])]
        return "".join(f"{name}({','.join(pairs[name])})" for name in ("G", "B", "R", "WP", "L"))


_OPTIONS: Final = {
    "h264": ("x264-params", "mastering-display", "cll"),
    "h265": ("x265-params", "master-display", "max-cll"),
    "av1": ("svtav1-params", "mastering-display", "content-light"),
}


def hdr_of(side_data: Mapping[Type, Any]) -> Hdr:
    """Return the static HDR metadata of a frame's side data."""
    display: tuple[Fraction, ...] = ()
    light: tuple[int, ...] = ()
    if Type.MASTERING_DISPLAY_METADATA in side_data:
        display = _display_of(bytes(side_data[Type.MASTERING_DISPLAY_METADATA]))
    if Type.CONTENT_LIGHT_LEVEL in side_data:
        block = bytes(side_data[Type.CONTENT_LIGHT_LEVEL])
        light = _LIGHT.unpack_from(block) if len(block) >= _LIGHT.size else ()
    return Hdr(display, light)


def _display_of(block: bytes) -> tuple[Fraction, ...]:
    """Return the values of a mastering display; nothing if some are unknown, as encoders take all or none."""
    if len(block) < _DISPLAY.size:
        return ()
    *numbers, has_colors, has_luminance = _DISPLAY.unpack_from(block)
    if not has_colors or not has_luminance or any(below <= 0 for below in numbers[1::2]):
        return ()
    return tuple(Fraction(above, below) for above, below in zip(numbers[::2], numbers[1::2], strict=True))


def is_dolby_vision_alone(side_data: Mapping[Type, Any]) -> bool:
    """Return whether a frame has colors of Dolby Vision's profile 5: nothing shows them right without its metadata."""
    if Type.DOVI_METADATA not in side_data:
        return False
    content = bytes(side_data[Type.DOVI_METADATA])
    header = content[_OFFSET.unpack_from(content)[0] :]
    return len(header) > _FULL_RANGE and header[_PROFILE] == 0 and header[_FULL_RANGE] == 1
