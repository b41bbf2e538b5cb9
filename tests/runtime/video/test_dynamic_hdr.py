"""HDR10+ and Dolby Vision: the loss of dynamic metadata is reported, or the video is refused."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from tests.runtime.clips import lines
from tests.runtime.conftest import Command
from tests.runtime.video.test_deep_video import BT2020, PQ

SEI, RPU = b"\x4e\x01", b"\x7c\x01"  # headers of units: supplemental information, and what Dolby Vision adds
UNITS_OF_PIXELS = 32  # the first type that has no pixels
START = b"\0\0\0\1"


class Bits:
    """Numbers of some bits each, one behind the other."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, *numbers: tuple[int, int]) -> Bits:
        """Add numbers, each with its count of bits."""
        self.text += "".join(f"{value:0{count}b}" for value, count in numbers)
        return self

    def golomb(self, *values: int) -> Bits:
        """Add numbers as Exp-Golomb codes."""
        return self.add(*((value + 1, 2 * (value + 1).bit_length() - 1) for value in values))

    def bytes(self) -> bytes:
        padded = self.text + "0" * (-len(self.text) % 8)
        return bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))


def hdr10_plus() -> bytes:
    """The smallest metadata of HDR10+ (SMPTE ST 2094-40): one window, one percentile."""
    bits = Bits().add((0xB5, 8), (0x3C, 16), (1, 16), (4, 8), (1, 8), (1, 2), (400, 27), (0, 1))
    bits.add((1000, 17), (2000, 17), (1500, 17), (500, 17), (1, 4), (50, 7), (600, 17), (10, 10), (0, 3))
    content = bits.bytes()
    return SEI + bytes([4, len(content)]) + content + b"\x80"


def dolby_vision(profile: int) -> bytes:
    """The smallest metadata of Dolby Vision of profile 5 or 8: it changes nothing."""
    full = profile == 5
    bits = Bits().add((0x19, 8), (2, 6), (0, 11), (0 if full else 1, 4), (0, 4), (1, 1), (0, 3)).golomb(23)
    bits.add((1, 2), (full, 1)).golomb(2, 2, 4).add((0, 5), (1, 1), (0, 2)).golomb(0, 0, 0)
    for _ in range(3):
        bits.golomb(0).add((0, 10), (1023, 10))
    bits.golomb(0, 0)
    for _ in range(3):
        bits.golomb(0, 0).add((0, 1)).golomb(0).add((0, 23)).golomb(1).add((0, 23))
    return RPU + bits.bytes() + bytes(4) + b"\x80"


def write(path: Path, before: bytes = b"", behind: bytes = b"") -> None:
    """Write an H.265 clip of 10 bits with one more unit before or behind the pixels of each frame."""
    raw = io.BytesIO()
    with av.open(raw, "w", format="hevc") as container:
        stream = container.add_stream("libx265", rate=8, options={"x265-params": "log-level=none:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = BT2020, BT2020, PQ, 1
        for number in range(4):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane in frame.planes:
                plane.update(bytes([number, 1]) * (plane.buffer_size // 2))
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    parts = []
    for unit in re.split(rb"\x00\x00\x00?\x01", raw.getvalue())[1:]:
        pixels = unit[0] >> 1 < UNITS_OF_PIXELS
        more = [re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\3", each) if pixels else b"" for each in (before, behind)]
        parts += [START + each for each in (more[0], unit, more[1]) if each]
    with av.open(io.BytesIO(b"".join(parts)), format="hevc") as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0], opaque=True)
        copy.time_base = Fraction(1, 8)
        frames = (packet for packet in source.demux(video=0) if packet.size)
        for number, packet in enumerate(frames):
            packet.time_base = Fraction(1, 8)
            packet.pts = packet.dts = number
            packet.stream = copy
            target.mux(packet)


@pytest.mark.parametrize(
    ("units", "name"),
    [
        (lambda: {"before": hdr10_plus()}, "HDR10+ metadata"),
        (lambda: {"behind": dolby_vision(8)}, "Dolby Vision metadata"),
    ],
)
def test_lost_dynamic_metadata_is_reported(
    cae_run: Command, tmp_path: Path, units: Callable[[], dict[str, bytes]], name: str
) -> None:
    source = tmp_path / "in.mp4"
    write(source, **units())
    done = cae_run(source, "-o", tmp_path / "out.mp4")
    assert done.returncode == 0
    assert f"not kept from {str(source)!r}: {name}" in lines(done)


def test_dolby_vision_without_a_standard_base_layer_is_refused(cae_run: Command, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    write(source, behind=dolby_vision(5))
    done = cae_run(source, "-o", tmp_path / "out.mp4")
    assert done.returncode == 1
    assert f"failed: {str(source)!r} is Dolby Vision of profile 5: " in done.stderr.decode()
    assert not (tmp_path / "out.mp4").exists()
