"""Writes a video file: encodes frames, and copies packets of sound and subtitles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from av.packet import Packet
from av.stream import AttachmentStream, Stream
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from cae_runtime.errors import UsageError, VideoError, VideoFormatError
from cae_runtime.io.arrays import VideoArray
from cae_runtime.io.formats import (
    AVI,
    MATROSKA,
    MOV,
    MP4,
    VIDEO_FORMAT_OF_SUFFIX,
    WEBM,
    VideoCoding,
)
from cae_runtime.video.frames import Step, is_cover
from cae_runtime.video.layout import layout_for
from cae_runtime.video.properties import BGR, INTERPOLATION, TIMECODE_TRACK, VideoProperties, is_timecode, kept_metadata
from cae_runtime.video.reader import VideoSource
from cae_shared.scheduling import usual_scheduling

DEFAULT_CRF: Final = {"h264": 18, "h265": 20, "vp9": 24, "av1": 24}
_ENCODERS: Final = {"h264": "libx264", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
# Fast presets leave the CPU to the network; at the same crf the files are hardly larger.
_OPTIONS: Final = {
    "h264": {"preset": "veryfast"},
    "h265": {"preset": "fast", "x265-params": "log-level=none", "a53cc": "1"},
    "vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "av1": {"preset": "8"},
}
_MUXERS: Final = {MP4: "mp4", MOV: "mov", MATROSKA: "matroska", WEBM: "webm", AVI: "avi"}
_RATE_MAX: Final = Fraction(240)  # that an encoder is told: some refuse more; the frames' own times hold
COVER: Final = "cover picture"
_COVER_FILES: Final = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
_CAPTIONED: Final = {"h264", "h265"}  # whose encoders take closed captions
_CUTREE_FROM: Final = 128  # pixels of a row; x265's macroblock tree writes past its memory in frames narrower than 50


class VideoSink:
    """A video file that is being written.

    Args:
        path: where; its name does not tell the format.
        suffix: of its final name, such as `.mp4`.
        source: the open video, whose properties are known.
        coding: codec (default: the format's first), quality (default: losses are hard to see), chroma.

    Attributes:
        dropped: what the file lacks of the source, as far as known while writing.
        copied: how many further video streams are copied as they are.
        takes_captions: whether it keeps the closed captions of the frames.

    Raises:
        UsageError: this PyAV cannot write the codec.
        VideoError: the frames are too small for the codec, the format does not support the sound, or the file cannot be
            written.
    """

    def __init__(self, path: Path, suffix: str, source: VideoSource, coding: VideoCoding) -> None:
        self._format = VIDEO_FORMAT_OF_SUFFIX[suffix.lower()]
        assert source.properties is not None  # noqa: S101 - known with the first step
        self._properties: VideoProperties = source.properties
        codec = coding.codec_in(self._format, deep=self._properties.deep)
        if _ENCODERS[codec] not in av.codecs_available:
            raise UsageError(f"codec {codec!r} has no encoder ({_ENCODERS[codec]}) in this PyAV: choose another codec")
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints twenty lines about itself otherwise
        layout = layout_for(self._properties, codec, coding.pixel_format)
        self._layout, self._size = layout.pixel_format, (layout.width, layout.height)
        self.dropped: set[str] = {*self._properties.lost, *layout.lost}
        self.copied = 0
        self.takes_captions = codec in _CAPTIONED
        self._reformatter = VideoReformatter()
        self._durations: dict[int, int] = {}
        self._least: dict[int, int] = {}  # by stream: the earliest decoding time of its next packet
        self._last = -(2**62)
        options = {"movflags": "+faststart"} if self._format in (MP4, MOV) else {}
        if options and any(key.lower().startswith("com.") for key in source.container.metadata):
            options["movflags"] += "+use_metadata_tags"
        self._what = f"as {codec} in {self._format}, {self._size[0]}x{self._size[1]} pixels"
        with _told(self._what):
            self._container = av.open(f"file:{path}", "w", format=_MUXERS[self._format], container_options=options)
        try:
            with _told(self._what):
                self._stream = self._add_video(source, codec, DEFAULT_CRF[codec] if coding.crf is None else coding.crf)
                copies = {stream.index: self._add_copy(source, stream) for stream in source.others}
                self._copies = {index: copy for index, copy in copies.items() if copy is not None}
                self._container.metadata.update(kept_metadata(source.container.metadata))
                self._container.set_chapters(source.container.chapters())
                with usual_scheduling():
                    self._container.start_encoding()
        except BaseException:
            self.abandon()
            raise
        if len(source.container.chapters()) > 0:
            self.dropped.discard("data stream (bin_data)")  # how MP4 keeps the chapters' names

    def _add_video(self, source: VideoSource, codec: str, crf: int) -> VideoStream:
        properties = self._properties
        rate: Fraction = min(source.rate, _RATE_MAX)
        stream = self._container.add_stream(_ENCODERS[codec], rate=rate)
        assert isinstance(stream, VideoStream)  # noqa: S101 - for mypy
        self._time_base = 1 / source.rate if self._format == AVI else source.time_base
        self._source_base = source.time_base
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._layout
        context.time_base = self._time_base
        stream.time_base = self._time_base
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = properties.tags
        context.sample_aspect_ratio = properties.pixel_shape or Fraction(1)
        context.options = {**_OPTIONS[codec], "crf": str(crf)}
        for option, told in properties.hdr.options(codec).items():
            context.options[option] = ":".join(filter(None, (context.options.get(option), told)))
        if codec == "h265" and self._size[0] < _CUTREE_FROM:
            context.options["x265-params"] += ":no-cutree=1"
        if self._format == AVI:
            context.max_b_frames = 0  # its frames have no times of their own
        if codec == "h265" and self._format in (MP4, MOV):
            context.codec_tag = "hvc1"  # what Apple's players ask for
        stream.set_display_matrix(properties.display)
        stream.metadata.update(kept_metadata(source.stream.metadata))
        stream.disposition = source.stream.disposition
        return stream

    def _add_copy(self, source: VideoSource, stream: Stream) -> Stream | None:
        """Add a stream that is copied; None if that is not possible."""
        if isinstance(stream, AttachmentStream):
            if self._format == MATROSKA:
                self._container.add_attachment(stream.name or "", stream.mimetype or "", stream.data)
            else:
                self.dropped.add("attachments")
            return None
        if stream.type not in ("audio", "subtitle", "video"):
            name = getattr(stream, "name", None) or "unknown"  # PyAV names no stream of an unknown type
            self.dropped.add(TIMECODE_TRACK if is_timecode(stream) else f"data stream ({name})")
            return None
        if stream.type == "video" and stream.codec_context is None:
            self.dropped.add("a further video stream (unknown)")
            return None
        if is_cover(stream) and self._format != MP4:
            self._add_cover(source, stream)
            return None
        try:
            copy = self._container.add_stream_from_template(stream, opaque=True)
        except ValueError as e:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            if stream.type == "audio":
                raise VideoFormatError(f"has sound ({name}) that {self._format} cannot hold: write Matroska") from e
            further = COVER if is_cover(stream) else f"a further video stream ({name})"
            self.dropped.add(f"subtitles ({name})" if stream.type == "subtitle" else further)
            return None
        self.copied += stream.type == "video" and not is_cover(stream)
        copy.metadata.update(kept_metadata(stream.metadata))
        copy.disposition = stream.disposition
        return copy

    def _add_cover(self, source: VideoSource, stream: Stream) -> None:
        """Add a cover picture where it is no stream: Matroska has it as an attached file."""
        name = stream.codec_context.name if stream.codec_context else ""
        if self._format != MATROSKA or name not in _COVER_FILES:
            self.dropped.add(COVER)
            return
        file, mime = _COVER_FILES[name]
        self._container.add_attachment(stream.metadata.get("filename", file), mime, source.first_packet(stream))

    def write(self, step: Step, pixels: VideoArray | None) -> None:
        """Write a step.

        Args:
            step: what was read.
            pixels: uint8 or, of deep sources, uint16, shape (H, W, 3), BGR: the cleaned frame; None if the step has
                no frame.

        Raises:
            VideoError: it cannot be encoded or written.
        """
        with _told(self._what):
            for packet in step.packets:
                self._copy(packet)
            if step.frame is not None and pixels is not None:
                frame = self._yuv(pixels)
                if step.frame.captions is not None and self.takes_captions:
                    frame = self._captioned(step.frame.captions, frame)
                self._encode(frame, step.frame.pts, step.frame.duration)

    def _copy(self, packet: Packet[Stream]) -> None:
        copy = self._copies.get(packet.stream_index)
        if copy is None:
            return
        least = self._least.get(packet.stream_index)
        if packet.dts is not None:
            if least is not None and packet.dts < least:  # in a damaged file; no format accepts it
                packet.dts = least
                packet.pts = None if packet.pts is None else max(packet.pts, least)
            self._least[packet.stream_index] = packet.dts + (self._format in (MP4, MOV))
        packet.stream = copy
        self._container.mux(packet)

    def _captioned(self, source: av.VideoFrame, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a frame with the captions of the decoded one, which PyAV copies only where it converts a frame."""
        converted = VideoReformatter().reformat(source, *self._size, self._layout, threads=1)
        both: Any = zip(converted.planes, frame.planes, strict=True)
        for mine, cleaned in both:  # their lines may end in unlike padding
            rows, wanted = (np.frombuffer(each, np.uint8).reshape(-1, each.line_size) for each in (mine, cleaned))
            width = min(mine.line_size, cleaned.line_size)
            rows[: mine.height, :width] = wanted[: mine.height, :width]
        converted.pict_type = PictureType.NONE
        self._tag(converted)
        return converted

    def _yuv(self, pixels: VideoArray) -> av.VideoFrame:
        properties = self._properties
        if self._size != (properties.width, properties.height):
            right, below = self._size[0] - properties.width, self._size[1] - properties.height
            pixels = cast(VideoArray, np.pad(pixels, ((0, below), (0, right), (0, 0)), "edge"))
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(pixels, BGR[pixels.dtype == np.uint16]),
            format=self._layout,
            dst_colorspace=properties.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=properties.range,
            interpolation=INTERPOLATION,
            threads=1,
        )
        self._tag(frame)
        return frame

    def _tag(self, frame: av.VideoFrame) -> None:
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = self._properties.tags

    def _encode(self, frame: av.VideoFrame, pts: int, duration: int) -> None:
        if self._time_base != self._source_base:
            exact = pts * self._source_base / self._time_base
            if exact.denominator != 1:
                self.dropped.add(f"exact time stamps ({self._format} has a fixed frame rate)")
            pts, duration = round(exact), 1
        self._last = max(pts, self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._time_base, duration
        self._durations[self._last] = duration
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def finish(self) -> None:
        """Flush the encoder, finish the file so that it can be played, and end the encoder's threads.

        Raises:
            VideoError: it cannot be encoded or written.
        """
        with _told(self._what):
            self._mux(self._stream.encode(None))
            self._container.close()
        self._let_go()

    def abandon(self) -> None:
        """Close the file, whatever state it is in, and end the encoder's threads."""
        with contextlib.suppress(av.FFmpegError, ValueError, AttributeError):
            self._container.close()
        self._let_go()

    def _let_go(self) -> None:
        """Drop the encoder: its threads live as long as it does, and an exception keeps this sink."""
        for name in ("_stream", "_copies", "_container"):
            vars(self).pop(name, None)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Return PyAV's error as one line."""
    try:
        yield
    except (av.FFmpegError, ValueError) as e:
        if isinstance(e, MemoryError):
            raise
        reason = e.strerror if isinstance(e, av.FFmpegError) and e.strerror else str(e)
        raise VideoError(f"cannot be written {what}: {reason}") from e
