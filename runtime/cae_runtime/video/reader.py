"""Reads a video file: frames as arrays with their times, sound and subtitles as packets."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from cae_runtime.errors import VideoError
from cae_runtime.io.arrays import VideoArray
from cae_runtime.io.formats import starts_like_a_video
from cae_runtime.io.image_files import PIXELS_MAX
from cae_runtime.video.frames import LostTimes, Step, TimedFrame, is_cover
from cae_runtime.video.integrity.missing_frames import Extent
from cae_runtime.video.integrity.vp9 import Vp9Judge
from cae_runtime.video.properties import BGR, INTERPOLATION, VideoProperties, properties_of
from cae_shared.paths import special_kind
from cae_shared.text import counted

_DEMUXERS: Final = "mov,matroska,avi"  # none of them opens another file or an address
_SAFE: Final = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
_LIMITS: Final = {"max_pixels": str(PIXELS_MAX)}
_WAITING_MAX, _WAITING_BYTES_MAX = 100_000, 2**28  # packets of other streams before the first frame, and their bytes
_BUNDLE: Final = 64  # packets of sound that go on without a frame
_FRAME_A_PACKET: Final = {"h264", "hevc"}  # codecs without packets that show nothing
_NOTHING_CONCEALED: Final = {"mjpeg"}  # decoders that return concealed frames without a flag unless told not to


class VideoSource:
    """A video file that is open for reading. It never opens another file or an address.

    Args:
        path: the file; MP4, MOV, Matroska, WebM or AVI by its contents, whatever its name.
        deep: whether frames of more than 8 bits are wanted with 16.

    Attributes:
        container: the opened file.
        stream: the first video stream that is not a cover picture.
        frames: about how many frames it has, None if the file does not say.
        properties: what all frames have in common; None until the first step is read.
        captioned: whether a frame with closed captions was read.
        resized: some frames had another size than the first and were scaled to it.
        truncated: what is missing of the file, or which frames damaged tables hide; empty as far as is known.
        not_kept: in words, what of the times is lost, and which frames an edit list leaves out; known at the end.

    Raises:
        VideoError: it is not such a file, has no video that can be decoded, more than 2^28 pixels per frame, or alpha.
    """

    def __init__(self, path: Path, deep: bool = False) -> None:
        self._deep = deep
        self.truncated = ""
        self.not_kept: set[str] = set()
        self._out_of_order = 0
        self.resized = self.captioned = False
        self._path = path
        try:
            self.container = _opened(path)
        except av.FFmpegError as e:
            raise VideoError(_why_not(path, e)) from e
        try:
            self.stream = self._choose()
            self.properties: VideoProperties | None = None
            self.frames = self.stream.frames or self._guessed_frames()
        except BaseException:
            self.close()
            raise
        self._judge = Vp9Judge(self.stream.codec_context, _LIMITS)
        self._reformatter = VideoReformatter()
        self._lost = LostTimes()
        self._sent: dict[int, int] = {}  # times and durations of packets whose frames are still in the decoder
        self._end = 0  # end time of the last frame that was yielded
        self._last = -(2**62)
        self._shown = False
        self._sorted_times = self.container.format.name == "avi"  # in decoding order, not in presentation order
        self._times: list[int] = []

    def _choose(self) -> VideoStream:
        videos = [stream for stream in self.container.streams.video if not is_cover(stream)]
        if not videos:
            raise VideoError("has no video stream")
        stream = videos[0]
        context = stream.codec_context
        if context is None:
            raise VideoError("has a video stream that nothing here can decode")
        if context.width * context.height > PIXELS_MAX:
            raise VideoError(f"has {context.width}x{context.height} pixels: the limit is {PIXELS_MAX} pixels")
        context.options = dict(_LIMITS)
        if context.name in _NOTHING_CONCEALED:
            context.options["err_detect"] = "explode"
        context.flags |= Flags.output_corrupt
        # With one thread what fails belongs to the packet that was just sent, and H.264 conceals damage and flags it:
        # with several slices at a time it leaves blank blocks, unflagged.
        context.thread_count = 1
        if stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1":
            raise VideoError("has an alpha channel, which would be lost")
        return stream

    def _guessed_frames(self) -> int | None:
        rate = self.stream.average_rate
        if not rate or not self.container.duration:
            return None
        return max(1, round(self.container.duration / av.time_base * rate))

    @property
    def others(self) -> list[Stream]:
        """The streams besides the video."""
        return [stream for stream in self.container.streams if stream.index != self.stream.index]

    @property
    def time_base(self) -> Fraction:
        """The unit of the frames' times, in seconds."""
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def rate(self) -> Fraction:
        """Frames per second; a guess if it varies."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def first_packet(self, stream: Stream) -> bytes:
        """Return the data of the first packet of a stream, such as a cover picture, without moving on in the file."""
        with _opened(self._path) as again:
            packets = again.demux(again.streams[stream.index])
            return next((bytes(packet) for packet in packets if packet.size), b"")

    def steps(self) -> Iterator[Step]:
        """Yield everything in the file in frame order; the first step has a frame.

        A frame that cannot be decoded is replaced by the previous one (at the beginning: by the first good one).
        `properties` is there as soon as the first step is.

        Raises:
            VideoError: no frame can be decoded, or a frame has alpha or more than 2^28 pixels.
        """
        packets: list[Packet[Stream]] = []
        waiting = 0
        for packet in self._packets():
            if packet.stream.index != self.stream.index:  # a flushing packet has no `stream_index`
                if packet.size:
                    packets.append(packet)
                    waiting += packet.size
                if len(packets) >= (_BUNDLE if self._shown else _WAITING_MAX) or waiting > _WAITING_BYTES_MAX:
                    if not self._shown:
                        break
                    yield Step(packets, None)
                    packets, waiting = [], 0
                continue
            for frame in self._frames(packet):
                yield Step(packets, frame)
                packets, waiting = [], 0
        if not self._shown:
            raise VideoError("has no frame that can be decoded")
        if self._out_of_order:
            self.not_kept.add(f"times of {counted(self._out_of_order, 'frame')}, which were out of order")
        for pts, duration in self._lost.before(None):
            yield Step(packets, self._timed(None, pts, duration, damaged=True))
            packets = []
        if packets:
            yield Step(packets, None)

    def _packets(self) -> Iterator[Packet[Any]]:
        extent = Extent()
        try:
            for packet in self.container.demux():
                extent.note(packet)
                if packet.size or packet.dts is None:  # an empty packet would end the decoding
                    yield packet
        except av.FFmpegError as e:
            self.truncated = f"is truncated or damaged: {e.strerror or e}"
            yield from self._flush()
            return
        self.truncated = extent.missing(self._path, self.container, self.stream)
        try:
            hidden = extent.hidden(self._path, self.container, self.stream)
        except OSError as e:
            self.truncated = self.truncated or f"cannot be read to its end: {e.strerror}"
            return
        if hidden.trimmed:
            self.not_kept.add(f"{hidden.frames} of {hidden.announced} frames, which its edit list leaves out")
        elif hidden.frames and not self.truncated:
            self.truncated = f"is damaged: its tables hide {hidden.frames} of its {hidden.announced} frames"
        if hidden.lengths:
            self.not_kept.add("times (its frames last {:.1f} s, its header says {:.1f} s)".format(*hidden.lengths))

    def _flush(self) -> Iterator[Packet[Any]]:
        packet: Packet[Any] = Packet()
        packet.stream = self.stream
        packet.time_base = self.time_base
        yield packet

    def _frames(self, packet: Packet[VideoStream]) -> Iterator[TimedFrame]:
        """Decode a packet; yield its frames, preceded by frames that were lost."""
        time = packet.pts if packet.pts is not None else packet.dts
        if self._sorted_times and packet.dts is not None:
            heapq.heappush(self._times, packet.dts)
        if packet.pts is not None and not packet.is_discard and self.stream.codec_context.name in _FRAME_A_PACKET:
            self._sent[packet.pts] = packet.duration or 0
        self._judge.look_at(packet)
        try:
            decoded = packet.decode()
        except av.FFmpegError as e:
            if isinstance(e, MemoryError):
                raise
            if packet.size:
                time = heapq.heappop(self._times) if self._times else time
                self._sent.pop(time or 0, None)
                self._lost.add(self._end if time is None else time, packet.duration or 0)
                self._judge.found_damage()
            return
        for frame in decoded:
            if self._times:
                frame.pts = heapq.heappop(self._times)
            self._note_missing(frame.pts)
            if self._judge.found_damage() or frame.is_corrupt:
                self._lost.add(self._end if frame.pts is None else frame.pts, frame.duration)
                continue
            if self.properties is None:
                self.properties = properties_of(frame, self.stream, self._deep)
            pixels, begun = self._bgr(frame, self.properties), self._shown
            captions = frame if Type.A53_CC in frame.side_data else None
            self.captioned |= captions is not None
            for pts, duration in self._lost.before(frame.pts):
                yield self._timed(None if self._shown else pixels, pts, duration, damaged=True)
            self._out_of_order += frame.pts is not None and frame.pts <= self._last
            known = self._shown and not begun  # replaces damaged frames at the beginning of the file
            time = self._end if frame.pts is None else frame.pts
            yield replace(self._timed(None if known else pixels, time, frame.duration), captions=captions)

    def _note_missing(self, pts: int | None) -> None:
        """Count packets as lost that should have been shown before a frame: frames arrive in presentation order."""
        if pts is None:
            return
        for time in [time for time in self._sent if time <= pts]:
            duration = self._sent.pop(time)
            if self._shown and self._last < time < pts:
                self._lost.add(time, duration)

    def _timed(self, pixels: VideoArray | None, pts: int, duration: int, damaged: bool = False) -> TimedFrame:
        """Return a frame whose time is after that of the previous one."""
        self._shown = True
        pts = max(pts, self._last + 1)
        duration = duration or max(1, round(1 / self.rate / self.time_base))
        self._last, self._end = pts, pts + duration
        return TimedFrame(pixels, pts, duration, damaged)

    def _bgr(self, frame: av.VideoFrame, properties: VideoProperties) -> VideoArray:
        pixels = frame.width * frame.height
        if pixels > PIXELS_MAX:
            raise VideoError(f"has {frame.width}x{frame.height} pixels: the limit is {PIXELS_MAX} pixels")
        self.resized |= (frame.width, frame.height) != (properties.width, properties.height)
        converted = self._reformatter.reformat(
            frame,
            properties.width,
            properties.height,
            BGR[properties.deep],
            src_colorspace=properties.matrix,
            src_color_range=properties.range,
            dst_color_range=ColorRange.JPEG,
            interpolation=INTERPOLATION,
            threads=1,
        )
        return cast(VideoArray, converted.to_ndarray())


def _opened(path: Path) -> InputContainer:
    exists = os.path.exists(path)  # noqa: PTH110 - never raises; `av.open` says why it cannot be read
    if exists and (kind := special_kind(path.stat().st_mode)):  # opening a pipe could block forever
        raise VideoError(f"is not a file but {kind}: it was not opened")
    return av.open(f"file:{path}", "r", options=_LIMITS, container_options=_SAFE, metadata_errors="replace")


def _why_not(path: Path, error: av.FFmpegError) -> str:
    """Return why a file could not be opened."""
    if not isinstance(error, ValueError) and isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as e:
        return f"cannot be read: {e.strerror}"
    if starts_like_a_video(start):
        return f"is truncated or damaged: {error.strerror or error}"
    return "is not a supported video (MP4, MOV, Matroska, WebM, AVI)"
