"""Cleans a video file frame by frame, keeping frame times, sound and metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cae_runtime.errors import UsageError, VideoError, VideoNotFoundError
from cae_runtime.io.arrays import VideoArray
from cae_runtime.io.formats import VIDEO_FORMAT_OF_SUFFIX, VideoCoding
from cae_runtime.io.pipeline import prefetch_map
from cae_runtime.tasks.notes import copied_streams
from cae_runtime.video.results import CleanedVideo, VideoInterrupted, VideoPartlyDone, partial_of
from cae_shared.folders import make_folder
from cae_shared.temporary import discard, rename, temporary_beside

_log = logging.getLogger(__name__)

if TYPE_CHECKING:  # modules that need PyAV are imported when a video is opened
    from cae_runtime.video.frames import Step, TimedFrame
    from cae_runtime.video.reader import VideoSource
    from cae_runtime.video.writer import VideoSink

Clean = Callable[[Any], NDArray[Any]]
OnWritten = Callable[[CleanedVideo, VideoPartlyDone | None], None]

_PIXELS_AHEAD = 2**24  # in frames that are decoded ahead or waiting to be encoded
_FRAMES_AHEAD = 4


def transcode(
    source: Path,
    output: Path,
    clean: Clean,
    coding: VideoCoding,
    on_frame: Callable[[int, int | None], None] | None = None,
    on_written: OnWritten | None = None,
) -> CleanedVideo:
    """Clean each frame of a video with a function; for the arguments, see `clean_video`.

    `on_written` is called in another thread as soon as the file has its final name, with the result and, for a partial
    video, the reason. After that, Ctrl-C may keep this function from returning, but `on_written` is always called.

    Raises:
        UsageError: the output is the source.
        VideoError, VideoInterrupted: see `clean_video`; messages are written to follow the source's name.
    """
    from cae_runtime.video.reader import VideoSource

    if not source.exists():
        raise VideoNotFoundError("does not exist")
    if output.exists() and output.samefile(source):
        raise UsageError(f"output {str(output)!r} is the source: choose another name")
    opened = VideoSource(source, coding.keeps_ten_bits(VIDEO_FORMAT_OF_SUFFIX[output.suffix.lower()]))
    try:
        return _Work(opened, source, output, clean, on_frame, on_written).run(coding)
    finally:
        opened.close()


class _Work:
    """One video while it is cleaned."""

    def __init__(
        self,
        opened: VideoSource,
        source: Path,
        output: Path,
        clean: Clean,
        on_frame: Callable[[int, int | None], None] | None,
        on_written: OnWritten | None,
    ) -> None:
        self._source, self._path, self._output, self._clean = opened, source, output, clean
        self._on_frame, self._on_written = on_frame, on_written
        self._before: VideoArray | None = None
        self._frames = self._repeated = 0

    def run(self, coding: VideoCoding) -> CleanedVideo:
        """Write the video under a hidden name, then rename it."""
        steps = self._source.steps()
        first = next(steps)
        output = self._output
        hidden = temporary_beside(output)
        try:
            make_folder(output.parent)
            try:
                self._write(hidden, first, steps, coding)
            finally:
                discard(hidden)
        except OSError as e:
            raise VideoError(f"cannot be written to {str(output)!r}: {e.strerror}") from e
        return self._cleaned

    def _write(self, hidden: Path, first: Step, steps: Iterator[Step], coding: VideoCoding) -> None:
        from cae_runtime.video.writer import VideoSink

        sink = VideoSink(hidden, self._output.suffix, self._source, coding)
        try:
            interrupted = False
            try:
                self._pump(sink, first, steps)
            except KeyboardInterrupt:
                if not self._frames:
                    raise
                interrupted = True
            interrupted |= not _finished(sink)
        except BaseException:
            sink.abandon()
            raise
        reason = "was interrupted" if interrupted else self._source.truncated or self._mostly_damaged()
        cleaned = self._cleaned = self._compared(hidden, sink)
        name = self._partial() if reason else self._output
        partly = VideoPartlyDone(reason, cleaned, name) if reason else None

        def publish() -> None:
            rename(hidden, name)
            if self._on_written is not None:
                self._on_written(cleaned, partly)

        with ThreadPoolExecutor(1, "cae-publish") as pool:  # signals do not interrupt this thread
            pool.submit(publish).result()
        if partly is not None:
            raise VideoInterrupted(partly) if interrupted else partly

    def _mostly_damaged(self) -> str:
        """Return a reason if more than half of the frames are damaged, otherwise an empty text."""
        if self._repeated * 2 <= self._frames:
            return ""
        return f"is damaged: {self._repeated} of {self._frames} frames cannot be decoded"

    def _pump(self, sink: VideoSink, first: Step, steps: Iterator[Step]) -> None:
        """Decode, clean and encode, each in its own thread."""
        properties = self._source.properties
        assert properties is not None  # noqa: S101 - known with the first step
        _log.debug(
            "%s: %sx%s pixels, about %s frames", self._path, properties.width, properties.height, self._source.frames
        )
        ahead = max(1, min(_FRAMES_AHEAD, _PIXELS_AHEAD // (properties.width * properties.height)))

        def write(done: tuple[Step, VideoArray | None]) -> TimedFrame | None:
            sink.write(*done)
            return done[0].frame

        with (
            ThreadPoolExecutor(1, "cae-decode") as reader,
            ThreadPoolExecutor(1, "cae-encode") as writer,
            closing(prefetch_map(reader, lambda _: next(steps, None), repeat(None), ahead)) as read,
        ):
            whole = chain([first], iter(lambda: next(read), None))
            for frame in prefetch_map(writer, write, map(self._cleaned_step, whole), ahead, finish=True):
                if frame is not None:
                    self._count(frame)

    def _cleaned_step(self, step: Step) -> tuple[Step, VideoArray | None]:
        if step.frame is None:
            return step, None
        if step.frame.pixels is not None:
            self._before = self._clean(step.frame.pixels)
        return step, self._before

    def _count(self, frame: TimedFrame) -> None:
        self._frames += 1
        self._repeated += frame.damaged
        if self._on_frame is not None:
            self._on_frame(self._frames, self._source.frames)

    def _compared(self, written: Path, sink: VideoSink) -> CleanedVideo:
        """Compare the written file with the source; return what was lost."""
        from cae_runtime.video.properties import TIMECODE_TRACK, lost_between, lost_tags, timecode_of
        from cae_runtime.video.reader import VideoSource

        properties, dropped = self._source.properties, sink.dropped
        assert properties is not None  # noqa: S101 - as above
        after = VideoSource(written)
        try:
            next(after.steps())
            assert after.properties is not None  # noqa: S101 - as above
            dropped |= lost_between(properties, after.properties) | lost_tags(self._source.container, after.container)
            dropped |= self._source.not_kept
            if timecode_of(after.container) == timecode_of(self._source.container):
                dropped.discard(TIMECODE_TRACK)  # written from the tag
        finally:
            after.close()
        if self._source.resized:
            dropped.add("changes of size")
        if self._source.captioned and not sink.takes_captions:
            dropped.add("closed captions")
        notes = (copied_streams(sink.copied),) if sink.copied else ()
        return CleanedVideo(
            properties.width, properties.height, self._frames, self._repeated, tuple(sorted(dropped)), notes
        )

    def _partial(self) -> Path:
        """Return the name for a partial output; never that of the source."""
        partial = partial_of(self._output)
        while partial.exists() and partial.samefile(self._path):
            partial = partial.with_suffix(f".partial{partial.suffix}")
        return partial


def _finished(sink: VideoSink) -> bool:
    """Finish the file even if Ctrl-C is pressed meanwhile; return whether it was not pressed."""
    with ThreadPoolExecutor(1, "cae-finish") as pool:
        ending = pool.submit(sink.finish)
        try:
            ending.result()
        except KeyboardInterrupt:
            ending.result()
            return False
    return True
