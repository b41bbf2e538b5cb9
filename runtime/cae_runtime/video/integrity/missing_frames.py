"""Finds what is missing in a video file according to its container: its end, or parts in between."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from cae_runtime.video.integrity.containers import holes_in, is_cut_off
from cae_runtime.video.integrity.sample_tables import Hidden, hidden_frames

_END_MAX: Final = 1.0  # seconds by which the last packet may end before the stated duration
_GAP_MIN: Final = 0.01  # seconds: times are rounded to milliseconds
_PARTS_MAX: Final = 100_000  # of a file that are looked at, and so many more a packet:
_PARTS_A_PACKET: Final = 8
_WITHOUT_GAPS: Final = {"video", "audio"}  # kinds of streams; subtitles have pauses


class Extent:
    """The time range of a file's packets, and the jumps in their times."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = defaultdict(float)  # stream -> seconds
        self._positions: dict[int, int] = defaultdict(int)  # stream -> position of its last packet in bytes
        self._packets: dict[int, int] = defaultdict(int)  # stream -> number of packets
        self._shown: dict[int, int] = defaultdict(int)  # stream -> number of packets to be shown
        self._gaps: dict[int, list[tuple[int, int, float]]] = defaultdict(
            list
        )  # stream -> (from and to in bytes, seconds)

    def note(self, packet: Packet[Any]) -> None:
        """Record the next packet."""
        if packet.size and not packet.is_discard:
            self._shown[packet.stream.index] += 1
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        number, unit = packet.stream.index, float(packet.time_base)
        self._packets[number] += 1
        gap = time * unit - self._ends[number]
        if packet.pos is not None and packet.pos >= 0:
            if gap > _GAP_MIN:
                self._gaps[number].append((self._positions[number], packet.pos, gap))
            self._positions[number] = packet.pos
        self._ends[number] = max(self._ends[number], (time + (packet.duration or 0)) * unit)

    def missing(self, path: Path, container: InputContainer, video: VideoStream) -> str:
        """Return what is missing, to follow the file's name; empty if it is complete. Note all packets first."""
        try:
            cut = is_cut_off(path)
            holes = [] if cut else holes_in(path, _PARTS_MAX + _PARTS_A_PACKET * sum(self._packets.values()))
        except OSError as e:
            return f"cannot be read to its end: {e.strerror}"
        matroska = "matroska" in container.format.name
        missing = _whole(container, matroska) - max(self._ends.values(), default=0.0)
        if cut or (missing > _END_MAX and not (matroska and cut is False) and not holes):
            what = f"its last {missing:.1f} seconds are missing" if missing > 0.05 else "its end is missing"
            return f"is truncated: {what}"
        if not holes:
            return ""
        if "avi" in container.format.name:  # AVI has no times: frames after a hole move up
            return self._fewer_frames(video)
        lost = max(self._lost(stream, holes) for stream in container.streams)
        if holes[-1] > max(self._positions.values(), default=0):
            lost = max(lost, missing)
        if lost > _GAP_MIN:
            return f"is damaged: {lost:.1f} seconds are missing" if lost > 0.05 else "is damaged: parts are missing"
        # For a fragmented MP4, FFmpeg's duration ends where the hole begins.
        return "" if matroska and container.duration else "is damaged: its end is missing"

    def hidden(self, path: Path, container: InputContainer, video: VideoStream) -> Hidden:
        """Return how many frames the tables of an MP4 or MOV hide. Note all packets first."""
        return hidden_frames(path, video.id, self._shown[video.index]) if "mov" in container.format.name else Hidden()

    def _fewer_frames(self, video: VideoStream) -> str:
        if not video.frames:
            return "is damaged: parts are missing"
        fewer = video.frames - self._packets[video.index]
        return f"is damaged: {fewer} of its {video.frames} frames are missing" if fewer > 0 else ""

    def _lost(self, stream: Stream, holes: list[int]) -> float:
        """Return how many seconds of a stream are missing in gaps and at its end."""
        if stream.type not in _WITHOUT_GAPS or stream.index not in self._ends:
            return 0.0
        gaps = self._gaps[stream.index]
        lost = sum(gap for before, after, gap in gaps if bisect_right(holes, before) < bisect_right(holes, after))
        if holes[-1] > self._positions[stream.index]:
            lost += max(0.0, _own_end(stream) - self._ends[stream.index])
        return lost


def _whole(container: InputContainer, matroska: bool) -> float:
    """Return the time at which the whole file should end, in seconds."""
    start, duration = (container.start_time or 0) / av.time_base, (container.duration or 0) / av.time_base
    # Matroska's duration counts from 0 or from the first frame, depending on the program that wrote the file.
    return duration if matroska and duration > start else start + duration


def _own_end(stream: Stream) -> float:
    """Return the time at which a stream should end, in seconds; 0 if the file does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    told = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    try:
        hours, minutes, seconds = (float(part) for part in told.split(":"))
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds
