"""Writes a video file: encodes frames, and copies packets of sound and subtitles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.packet import Packet
from av.stream import AttachmentStream, Stream
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cae_runtime.errors import UsageError, VideoError, VideoFormatError
from cae_runtime.io.formats import (
    AVI,
    CODECS_OF_FORMAT,
    MATROSKA,
    MOV,
    MP4,
    PIXEL_FORMATS,
    SMALLEST,
    VIDEO_FORMAT_OF_SUFFIX,
    WEBM,
    VideoCoding,
)
from cae_runtime.video.frames import Step
from cae_runtime.video.properties import INTERPOLATION, VideoProperties, kept_metadata
from cae_runtime.video.reader import VideoSource, is_cover

DEFAULT_CRF: Final = {"h264": 18, "h265": 20, "vp9": 24, "av1": 24}
_ENCODERS: Final = {"h264": "libx264", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
# Fast presets leave the CPU to the network; at the same crf the files are hardly larger.
_OPTIONS: Final = {
    "h264": {"preset": "veryfast"},
    "h265": {"preset": "fast", "x265-params": "log-level=none"},
    "vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "av1": {"preset": "8"},
}
_MUXERS: Final = {MP4: "mp4", MOV: "mov", MATROSKA: "matroska", WEBM: "webm", AVI: "avi"}
_RATE_MAX: Final = Fraction(240)  # that an encoder is told: some refuse more; the frames' own times hold
_EVEN_ONLY: Final = {"h264", "h265"}
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

    Raises:
        UsageError: this PyAV cannot write the codec.
        VideoError: the frames are too small for the codec, the format does not support the sound, or the file cannot be
            written.
    """

    def __init__(self, path: Path, suffix: str, source: VideoSource, coding: VideoCoding) -> None:
        self._format = VIDEO_FORMAT_OF_SUFFIX[suffix.lower()]
        codec = coding.codec or CODECS_OF_FORMAT[self._format][0]
        if _ENCODERS[codec] not in av.codecs_available:
            raise UsageError(f"codec {codec!r} has no encoder ({_ENCODERS[codec]}) in this PyAV: choose another codec")
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints twenty lines about itself otherwise
        assert source.properties is not None  # noqa: S101 - known with the first step
        self._properties: VideoProperties = source.properties
        self.dropped: set[str] = set(self._properties.lost)
        self._layout = self._chosen_layout(codec, coding.pixel_format)
        self._size = self._possible_size(codec)
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
                self._copies = {
                    stream.index: copy for stream in source.others if (copy := self._add_copy(stream)) is not None
                }
                self._container.metadata.update(kept_metadata(source.container.metadata))
                self._container.set_chapters(source.container.chapters())
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

    def _chosen_layout(self, codec: str, wanted: str | None) -> str:
        """Return the pixel format to write: the source's chroma resolution, or yuv420p for RGB."""
        properties, possible = self._properties, PIXEL_FORMATS[codec]
        if wanted is not None:
            return wanted
        if properties.layout in possible and not properties.is_rgb:
            return properties.layout
        keeps_it = f"; pixel format {properties.layout} keeps it" if properties.layout in possible else ""
        self.dropped.add(f"full chroma (4:2:0 is written{keeps_it})")
        return "yuv420p"

    def _possible_size(self, codec: str) -> tuple[int, int]:
        """Return width and height to write: some encoders need multiples of the chroma subsampling.

        Raises:
            VideoError: the frames are too small for the encoder.
        """
        size = self._properties.width, self._properties.height
        least = SMALLEST[codec]
        if size[0] < least[0] or size[1] < least[1]:
            raise VideoError(
                f"has {size[0]}x{size[1]} pixels: {codec} takes {least[0]}x{least[1]} and more, choose another codec"
            )
        if codec not in _EVEN_ONLY:
            return size
        chroma = VideoFormat(self._layout, 64, 64)
        steps = 64 // chroma.chroma_width(), 64 // chroma.chroma_height()
        written = size[0] + -size[0] % steps[0], size[1] + -size[1] % steps[1]
        if written != size:
            odd = " and ".join(name for name, a, b in zip(("column", "row"), size, written, strict=True) if a != b)
            now = f"{written[0]}x{written[1]} is written, the last {odd} repeated"
            self.dropped.add(f"odd size ({now}; pixel format yuv444p keeps it)")
        return written

    def _add_copy(self, stream: Stream) -> Stream | None:
        """Add a stream that is copied; None if that is not possible."""
        if isinstance(stream, AttachmentStream):
            if self._format == MATROSKA:
                self._container.add_attachment(stream.name or "", stream.mimetype or "", stream.data)
            else:
                self.dropped.add("attachments")
            return None
        if stream.type not in ("audio", "subtitle") and not is_cover(stream):
            self.dropped.add("further video streams" if stream.type == "video" else f"data stream ({stream.name})")
            return None
        try:
            copy = self._container.add_stream_from_template(stream, opaque=True)
        except ValueError as e:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            if stream.type == "audio":
                raise VideoFormatError(f"has sound ({name}) that {self._format} cannot hold: write Matroska") from e
            self.dropped.add(f"subtitles ({name})" if stream.type == "subtitle" else "cover picture")
            return None
        copy.metadata.update(kept_metadata(stream.metadata))
        copy.disposition = stream.disposition
        return copy

    def write(self, step: Step, pixels: NDArray[np.uint8] | None) -> None:
        """Write a step.

        Args:
            step: what was read.
            pixels: uint8, shape (H, W, 3), BGR: the cleaned frame; None if the step has no frame.

        Raises:
            VideoError: it cannot be encoded or written.
        """
        with _told(self._what):
            for packet in step.packets:
                self._copy(packet)
            if step.frame is not None and pixels is not None:
                self._encode(self._yuv(pixels), step.frame.pts, step.frame.duration)

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

    def _yuv(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        properties = self._properties
        if self._size != (properties.width, properties.height):
            right, below = self._size[0] - properties.width, self._size[1] - properties.height
            pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), "edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(pixels, "bgr24"),
            format=self._layout,
            dst_colorspace=properties.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=properties.range,
            interpolation=INTERPOLATION,
            threads=1,
        )
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = properties.tags
        return frame

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
        """Flush the encoder, and finish the file so that it can be played.

        Raises:
            VideoError: it cannot be encoded or written.
        """
        with _told(self._what):
            self._mux(self._stream.encode(None))
            self._container.close()

    def abandon(self) -> None:
        """Close the file, whatever state it is in."""
        with contextlib.suppress(av.FFmpegError, ValueError):
            self._container.close()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what PyAV raises into one line."""
    try:
        yield
    except (av.FFmpegError, ValueError) as e:
        if isinstance(e, MemoryError):
            raise
        reason = e.strerror if isinstance(e, av.FFmpegError) and e.strerror else str(e)
        raise VideoError(f"cannot be written {what}: {reason}") from e
