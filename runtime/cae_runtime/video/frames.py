"""Frames with their times, and the packets between them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from av import VideoFrame
from av.packet import Packet
from av.stream import Disposition, Stream

from cae_runtime.io.arrays import VideoArray


@dataclass(frozen=True)
class TimedFrame:
    """One frame.

    Attributes:
        pixels: uint8 or uint16, shape (H, W, 3), BGR; None: the previous frame again.
        pts: presentation time, in units of the video's time base.
        duration: in the same units.
        damaged: the file's own frame could not be decoded.
        captions: the decoded frame, if it has closed captions.
    """

    pixels: VideoArray | None
    pts: int
    duration: int
    damaged: bool = False
    captions: VideoFrame | None = None


@dataclass(frozen=True)
class Step:
    """One step of reading: packets of other streams, and the frame after them, or None."""

    packets: list[Packet[Stream]]
    frame: TimedFrame | None


@dataclass
class LostTimes:
    """Times of frames that could not be decoded and were not yielded yet."""

    times: list[tuple[int, int]] = field(default_factory=list)

    def add(self, pts: int, duration: int) -> None:
        """Remember a time."""
        heapq.heappush(self.times, (pts, duration))

    def before(self, pts: int | None) -> Iterator[tuple[int, int]]:
        """Remove and return the times before a limit, or all."""
        while self.times and (pts is None or self.times[0][0] < pts):
            yield heapq.heappop(self.times)


def is_cover(stream: Stream) -> bool:
    """Return whether a video stream is a cover picture."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))
