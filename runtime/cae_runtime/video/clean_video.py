"""`clean_video`: cleans a video file, for Python programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import check_function, checked_flag, checked_place
from cae_runtime.errors import ArgumentTypeError, ImageTypeError, MissingExtraError, VideoError
from cae_runtime.inference.model_files import DEFAULT_MODEL
from cae_runtime.inference.session import Session
from cae_runtime.io.formats import VideoCoding
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strength_blending import Strength, checked_strengths
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.video.encoding import check_encoding, missing_extra
from cae_runtime.video.files.copies import transcode_any
from cae_runtime.video.files.transcode import Clean
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_runtime.video.results import CleanedVideo


def clean_video(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    restorer: Restorer | Session | str | os.PathLike[str] | bytes | Clean | None = None,
    *,
    temporal: bool | None = None,
    strength: Strength = 1.0,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
) -> CleanedVideo:
    """Clean a video file, as `cae-run` does.

    A damaged frame is replaced by the previous one. The output appears complete or not at all.

    Args:
        source: MP4, MOV, Matroska, WebM or AVI: a file, or an address (needs the extra `cloud`), `s3://bucket/a.mp4`.
        output: the file or address to write, replaced if it exists; its suffix chooses the format.
        restorer: a `Restorer`, a packaged model's name, a model file or its bytes, or a `Session`; None is `denoise`.
            Or a function that is called with each frame in turn, shape (H, W, 3), BGR, as stored (not rotated), and
            returns an array of the same kind: uint8, or uint16 where more than 8 bits are kept. It is not called for
            repeated frames.
        temporal: whether static regions are averaged over time before cleaning; None does so for a model only.
        strength: s in 0..1; each frame becomes frame + s * (cleaned - frame). Or two, see `Restorer`.
        codec: `h264`, `h265`, `vp9` or `av1`; the last and `h265` hold 10 bits. None takes the usual one.
        crf: constant rate factor, lower is better: 0..51, for vp9 and av1 0..63; None takes a default.
        pixel_format: `yuv420p`, `yuv422p` or `yuv444p`, for 10 bits with `10le` behind it; None takes the source's.
        on_frame: called after each frame with how many are done and about how many there are (None: unknown). What it
            raises stops the work and comes out of this call; nothing is written then.

    Returns:
        What was written.

    Raises:
        MissingExtraError: PyAV is not installed; the message has the line that installs it.
        UsageError: an argument is not as listed above (also a TypeError), or the output is the source.
        VideoError: the source cannot be read (also a FileNotFoundError if it does not exist), or the output cannot be
            written.
        VideoPartlyDone: the source ends early, lacks parts, or more than half of its frames are damaged; the finished
            frames are in `NAME.partial.EXT`.
        VideoInterrupted: Ctrl-C was pressed; the finished frames are in `NAME.partial.EXT`.
        ImageError, ModelError, ProviderError: see `Restorer`.
    """
    from_place, to_place = checked_place("source", source), checked_place("output", output)
    strengths, coding = checked_strengths(strength), VideoCoding(codec, crf, pixel_format)
    averaged = None if temporal is None else checked_flag("temporal", temporal)
    check_function("on_frame", on_frame)
    check_encoding(to_place, coding)
    if missing := missing_extra():
        raise MissingExtraError(missing)
    with ExitStack() as opened:
        if restorer is None or isinstance(restorer, str | os.PathLike | bytes | Session):
            restorer = opened.enter_context(Restorer(DEFAULT_MODEL if restorer is None else restorer))
        clean = _cleaner(restorer, strengths, averaged)
        try:
            return transcode_any(from_place, to_place, clean, coding, on_frame)
        except VideoError as e:  # the text continues after the name
            e.args = (f"video {str(from_place)!r} {e}",)
            raise


def _cleaner(restorer: Restorer | Clean, strengths: Strengths, temporal: bool | None) -> Clean:
    """Return a function that cleans one frame; for the arguments see `clean_video`."""
    if isinstance(restorer, Restorer):
        return frame_cleaner(restorer.for_color("bgr").for_frames(), strengths, temporal is not False)
    if callable(restorer):
        return frame_cleaner(_frame_by_frame(restorer), strengths, bool(temporal))
    raise ArgumentTypeError(
        f"restorer is {restorer!r}: it must be a Restorer, a model, or a function from a frame to a frame"
    )


def _frame_by_frame(function: Clean) -> Clean:
    """Wrap a function that cleans frames, checking its results."""

    def clean(frame: NDArray[Any]) -> NDArray[Any]:
        cleaned = function(frame)
        if not isinstance(cleaned, np.ndarray) or cleaned.dtype != frame.dtype or cleaned.shape != frame.shape:
            array = isinstance(cleaned, np.ndarray)
            given = f"{cleaned.dtype} of shape {cleaned.shape}" if array else f"a {type(cleaned).__name__}"
            needed = f"{frame.dtype} of shape {frame.shape}"
            raise ImageTypeError(f"the function returned {given} for a frame: {needed} is needed")
        return cleaned

    return clean
