"""The result of cleaning a video: all of it, or the finished part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import overload

from cae_runtime.errors import VideoError
from cae_runtime.places.address import Address, Place
from cae_runtime.tasks.notes import Note
from cae_shared.text import counted


@dataclass(frozen=True)
class CleanedVideo:
    """The result of cleaning a video.

    Attributes:
        width: pixels of a row, as stored.
        height: rows, as stored.
        frames: how many were written.
        repeated: how many of them replace a damaged one.
        dropped: what was not kept, in words.
        notes: remarks on how it was cleaned.
    """

    width: int
    height: int
    frames: int
    repeated: int
    dropped: tuple[str, ...]
    notes: tuple[Note, ...] = ()


class VideoPartlyDone(VideoError):  # noqa: N818 - part of it is there
    """A video is incomplete, or most of its frames are damaged; the finished part can be played.

    Attributes:
        cleaned: the finished part.
        partial: the file that contains it.
        reason: why it is all there is.

    Args:
        lost: why the file is not there after all: it "cannot be written".
    """

    def __init__(self, reason: str, cleaned: CleanedVideo, partial: Place, lost: str = "") -> None:
        verb = "is" if cleaned.frames == 1 else "are"
        frames = counted(cleaned.frames, "frame")
        where = lost or f"{verb} in {str(partial)!r}"
        super().__init__(f"{reason}: the {frames} that {verb} done {where}")
        self.cleaned = cleaned
        self.reason = reason
        self.partial = partial


class VideoInterrupted(KeyboardInterrupt):
    """Ctrl-C was pressed; `partly` describes the finished part."""

    def __init__(self, partly: VideoPartlyDone) -> None:
        super().__init__()
        self.partly = partly


@overload
def partial_of(output: Path) -> Path: ...
@overload
def partial_of(output: Address) -> Address: ...
@overload
def partial_of(output: Place) -> Place: ...
def partial_of(output: Place) -> Place:
    """Return where the frames that are done go when a video cannot be finished."""
    return output.with_suffix(f".partial{output.suffix}")
