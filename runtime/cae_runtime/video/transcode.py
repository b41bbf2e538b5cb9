"""A video in, the cleaned video out: frame by frame, with its times, its sound and all that is around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_flag, checked_path, checked_share, checked_whole
from cae_runtime.errors import (
    ArgumentTypeError,
    ImageTypeError,
    MissingExtraError,
    UsageError,
    VideoError,
    VideoNotFoundError,
)
from cae_runtime.inference.session import DEFAULT_MODEL, Session
from cae_runtime.io.formats import CODECS_OF_FORMAT, CRF_MAX, PIXEL_FORMATS, VIDEO_FORMAT_OF_SUFFIX, VideoCoding
from cae_runtime.io.pipeline import prefetch_map
from cae_runtime.jobs.planning import Job
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_shared.folders import make_folder
from cae_shared.temporary import discard, temporary_beside

if TYPE_CHECKING:  # what needs PyAV is imported when a video is opened
    from cae_runtime.video.reader import Step, TimedFrame, VideoSource
    from cae_runtime.video.writer import VideoSink

INSTALL: Final = (
    "videos need an extra: pip install 'cae-toolkit[video]' (in a checkout: pip install -e '.[video]'), that is PyAV "
    "18 or later, {why}"
)
_PYAV: Final = 18  # the version that pyproject.toml asks for

Clean = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_PIXELS_AHEAD = 2**24  # of frames that are decoded ahead, or wait to be encoded
_FRAMES_AHEAD = 4


@dataclass(frozen=True)
class CleanedVideo:
    """What became of a video.

    Attributes:
        width: pixels of a row, as stored.
        height: rows, as stored.
        frames: how many were written.
        repeated: how many of them stand in for a damaged one.
        dropped: what did not come along, in words.
    """

    width: int
    height: int
    frames: int
    repeated: int
    dropped: tuple[str, ...]


class VideoPartlyDone(VideoError):  # noqa: N818 - part of it is there
    """A video lacks a part, or most of its frames are damaged: what was done of it can be played.

    Attributes:
        cleaned: what was done.
        partial: the file that has it.
    """

    def __init__(self, reason: str, cleaned: CleanedVideo, partial: Path) -> None:
        super().__init__(f"{reason}: the {cleaned.frames} frames that are done are in {str(partial)!r}")
        self.cleaned = cleaned
        self.partial = partial


class VideoInterrupted(KeyboardInterrupt):
    """Ctrl-C was pressed; `partly` tells what was done until then."""

    def __init__(self, partly: VideoPartlyDone) -> None:
        super().__init__()
        self.partly = partly


OnWritten = Callable[[CleanedVideo, VideoPartlyDone | None], None]


def clean_video(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    restorer: Restorer | Session | str | os.PathLike[str] | Clean | None = None,
    *,
    temporal: bool | None = None,
    strength: float = 1.0,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
) -> CleanedVideo:
    """Clean a video file, as `cae-run` does.

    While a frame is cleaned, the next ones are decoded and those before are encoded, in two other threads. A frame that
    is damaged is the one before once more. The output appears whole or not at all.

    Args:
        source: MP4, MOV, Matroska, WebM or AVI.
        output: the file to write, replaced where it is there; its suffix tells the format.
        restorer: a `Restorer`, or what one is made of: the name of a packaged model, a file, an opened one; None takes
            `denoise`. Or any function that is called with each frame in turn, uint8, shape (H, W, 3), BGR, as stored
            (not rotated), and returns another of the same kind. It may keep what it has seen, and is not called for
            frames that are repeated.
        temporal: whether what stands still is averaged over time before it is cleaned; None does so before a model, and
            gives a function the frames as they are.
        strength: s in 0..1; each frame becomes frame + s * (cleaned - frame).
        codec: `h264`, `h265`, `vp9` or `av1`; None takes what is usual in the format.
        crf: constant rate factor, lower is better: 0..51, for vp9 and av1 0..63; None takes a default.
        pixel_format: `yuv420p`, `yuv422p` or `yuv444p`; None takes the source's chroma, and of RGB `yuv420p`, which all
            players take.
        on_frame: called after each frame with how many are done, and about how many there are (None: unknown).

    Returns:
        What was written.

    Raises:
        MissingExtraError: PyAV is not installed; the message has the line that installs it.
        UsageError: an argument is not as listed above (where its type is another, a TypeError too), or the output is
            the source.
        VideoError: the source cannot be read (where it does not exist, a FileNotFoundError too), or the output not be
            written.
        VideoPartlyDone: the source ends early, lacks parts, or more than half of its frames are damaged; what it had is
            in `NAME.partial.EXT`.
        VideoInterrupted: Ctrl-C was pressed; what was done is in `NAME.partial.EXT`.
        ImageError, ModelError, ProviderError: as `Restorer` raises them.
    """
    source, output = checked_path("source", source), checked_path("output", output)
    strength = checked_share("strength", strength)
    averaged = None if temporal is None else checked_flag("temporal", temporal)
    coding = VideoCoding(codec, crf, pixel_format)
    check_encoding(output, coding)
    if missing := missing_extra():
        raise MissingExtraError(missing)
    with ExitStack() as opened:
        if restorer is None or isinstance(restorer, str | os.PathLike | Session):
            restorer = opened.enter_context(Restorer(DEFAULT_MODEL if restorer is None else restorer))
        if isinstance(restorer, Restorer):
            clean = frame_cleaner(restorer.for_color("bgr"), strength, averaged is not False)
        elif callable(restorer):
            clean = frame_cleaner(_frame_by_frame(restorer), strength, bool(averaged))
        else:
            raise ArgumentTypeError(
                f"restorer is {restorer!r}: it must be a Restorer, a model, or a function from a frame to a frame"
            )
        try:
            return transcode(source, output, clean, coding, on_frame)
        except VideoError as e:  # its text goes on after the name
            e.args = (f"video {str(source)!r} {e}",)
            raise


def _frame_by_frame(function: Clean) -> Clean:
    """Return a function that cleans frames, with what it returns checked."""

    def clean(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        cleaned = function(frame)
        if not isinstance(cleaned, np.ndarray) or cleaned.dtype != np.uint8 or cleaned.shape != frame.shape:
            array = isinstance(cleaned, np.ndarray)
            given = f"{cleaned.dtype} of shape {cleaned.shape}" if array else f"a {type(cleaned).__name__}"
            raise ImageTypeError(f"the function returned {given} for a frame: uint8 of shape {frame.shape} is needed")
        return cleaned

    return clean


def missing_extra() -> str:
    """Return what videos need and is not here, with the line that installs it; empty where all is here."""
    try:
        import av
    except ImportError:
        return INSTALL.format(why="which is not installed")
    if int(av.__version__.split(".")[0]) < _PYAV:
        return INSTALL.format(why=f"of which {av.__version__} is installed")
    return ""


def check_encoding(output: Path, coding: VideoCoding) -> None:
    """Refuse an output whose format is not known or does not hold the codec, and what the codec does not know.

    Raises:
        UsageError: one of them.
    """
    format = VIDEO_FORMAT_OF_SUFFIX.get(output.suffix.lower())
    if format is None:
        raise UsageError(
            f"output {str(output)!r} ends like no video that can be written: choose among "
            f"{', '.join(VIDEO_FORMAT_OF_SUFFIX)}"
        )
    codecs = CODECS_OF_FORMAT[format]
    chosen = codecs[0] if coding.codec is None else coding.codec
    if chosen not in codecs:
        raise UsageError(f"codec is {chosen!r}: output {str(output)!r} is {format}, which takes {' or '.join(codecs)}")
    if coding.crf is not None:
        checked_whole("crf", coding.crf, 0, CRF_MAX[chosen], f"None for {chosen}'s default")
    if coding.pixel_format is not None and coding.pixel_format not in PIXEL_FORMATS[chosen]:
        raise UsageError(
            f"pixel format is {coding.pixel_format!r}: {chosen} takes {' or '.join(PIXEL_FORMATS[chosen])}"
        )


def transcode(
    source: Path,
    output: Path,
    clean: Clean,
    coding: VideoCoding,
    on_frame: Callable[[int, int | None], None] | None = None,
    on_written: OnWritten | None = None,
) -> CleanedVideo:
    """Clean a video with a function from a frame to a frame; see `clean_video`, whose arguments these are.

    `on_written` is called in another thread as soon as the file has its name, with what was done and, where it is a
    partial one, why. Ctrl-C can keep this function from returning then, but not from calling that.

    Raises:
        UsageError: the output is the source.
        VideoError, VideoInterrupted: as there; the text goes on after the source's name.
    """
    from cae_runtime.video.reader import VideoSource

    if not source.exists():
        raise VideoNotFoundError("does not exist")
    if output.exists() and output.samefile(source):
        raise UsageError(f"output {str(output)!r} is the source: choose another name")
    opened = VideoSource(source)
    try:
        return _Work(opened, Job(source, output), clean, on_frame, on_written).run(coding)
    finally:
        opened.close()


class _Work:
    """One video on its way through."""

    def __init__(
        self,
        source: VideoSource,
        job: Job,
        clean: Clean,
        on_frame: Callable[[int, int | None], None] | None,
        on_written: OnWritten | None,
    ) -> None:
        self._source, self._job, self._clean = source, job, clean
        self._on_frame, self._on_written = on_frame, on_written
        self._before: NDArray[np.uint8] | None = None
        self._frames = self._repeated = 0

    def run(self, coding: VideoCoding) -> CleanedVideo:
        """Do all of it under a hidden name, and rename that."""
        steps = self._source.steps()
        first = next(steps)
        output = self._job.output
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

        sink = VideoSink(hidden, self._job.output.suffix, self._source, coding)
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
        cleaned = self._cleaned = self._compared(hidden, sink.dropped)
        partly = VideoPartlyDone(reason, cleaned, self._partial()) if reason else None

        def publish() -> None:
            hidden.replace(self._job.output if partly is None else partly.partial)
            if self._on_written is not None:
                self._on_written(cleaned, partly)

        with ThreadPoolExecutor(1, "cae-publish") as pool:  # where no signal comes in between
            pool.submit(publish).result()
        if partly is not None:
            raise VideoInterrupted(partly) if interrupted else partly

    def _mostly_damaged(self) -> str:
        """Return a reason where more than half of the frames are damaged, else nothing."""
        if self._repeated * 2 <= self._frames:
            return ""
        return f"is damaged: {self._repeated} of {self._frames} frames cannot be decoded"

    def _pump(self, sink: VideoSink, first: Step, steps: Iterator[Step]) -> None:
        """Decode, clean and encode, each in its thread."""
        properties = self._source.properties
        assert properties is not None  # noqa: S101 - known with the first step
        ahead = max(1, min(_FRAMES_AHEAD, _PIXELS_AHEAD // (properties.width * properties.height)))

        def write(done: tuple[Step, NDArray[np.uint8] | None]) -> TimedFrame | None:
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

    def _cleaned_step(self, step: Step) -> tuple[Step, NDArray[np.uint8] | None]:
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

    def _compared(self, written: Path, dropped: set[str]) -> CleanedVideo:
        """Look at what was written, and tell what of the source is not there."""
        from cae_runtime.video.properties import lost_between, lost_tags
        from cae_runtime.video.reader import VideoSource

        properties = self._source.properties
        assert properties is not None  # noqa: S101 - as above
        after = VideoSource(written)
        try:
            next(after.steps())
            assert after.properties is not None  # noqa: S101 - as above
            dropped |= lost_between(properties, after.properties) | lost_tags(self._source.container, after.container)
            dropped |= self._source.not_kept
        finally:
            after.close()
        if self._source.resized:
            dropped.add("changes of size")
        return CleanedVideo(properties.width, properties.height, self._frames, self._repeated, tuple(sorted(dropped)))

    def _partial(self) -> Path:
        """Return the name of what was done of the output; never that of the source."""
        partial = self._job.partial
        while partial.exists() and partial.samefile(self._job.source):
            partial = partial.with_suffix(f".partial{partial.suffix}")
        return partial


def _finished(sink: VideoSink) -> bool:
    """End the file, also when Ctrl-C is pressed meanwhile; return whether it was not."""
    with ThreadPoolExecutor(1, "cae-finish") as pool:
        ending = pool.submit(sink.finish)
        try:
            ending.result()
        except KeyboardInterrupt:
            ending.result()
            return False
    return True
