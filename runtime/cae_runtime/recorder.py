"""A recording of what is seen live: an MP4 of constant rate that keeps step with the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import cv2

from cae_runtime.camera import Frame
from cae_runtime.errors import ImageError, UsageError

SUFFIXES: Final = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_DEFAULT_RATE: Final = 30.0
_RATES: Final = (1.0, 120.0)
_REPEATS_MAX: Final = 600  # of a frame, while nothing came


class Recorder:
    """Writes frames as they come; each is repeated or left out so that the recording lasts as long as it took.

    While it is being written the file is called `NAME.partial.EXT`.

    Args:
        path: the file; its suffix chooses the format.
        rate: frames a second, or None for 30.

    Attributes:
        path: the file.
        frames: frames written.

    Raises:
        UsageError: the suffix is none of those that can be written.
    """

    def __init__(self, path: Path, rate: float | None) -> None:
        check_path(path)
        self.path, self.frames = path, 0
        self._rate = min(max(rate or _DEFAULT_RATE, _RATES[0]), _RATES[1])
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._began = 0.0

    def write(self, frame: Frame, time: float) -> None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3), BGR; of another size than the first, it is scaled to it.
            time: when it was captured, in seconds of any clock; not before the last one's.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._writer is None:
            self._open((frame.shape[1], frame.shape[0]), time)
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cast(Frame, cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA))
        due = round((time - self._began) * self._rate) + 1
        for _ in range(min(due - self.frames, _REPEATS_MAX)):
            cast(cv2.VideoWriter, self._writer).write(frame)
            self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is none.

        Raises:
            ImageError: it cannot be renamed.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            self._partial.replace(self.path)
        except OSError as e:
            raise ImageError(f"recording {str(self.path)!r} cannot be written: {e.strerror}") from e

    def _open(self, size: tuple[int, int], time: float) -> None:
        self._size, self._began = size, time
        code = cv2.VideoWriter.fourcc(*SUFFIXES[self.path.suffix.lower()])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ImageError(f"recording {str(self.path)!r} cannot be written: {e.strerror}") from e
        self._writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, code, self._rate, size)
        if not self._writer.isOpened():
            self._writer = None
            self._partial.unlink(missing_ok=True)
            raise ImageError(f"recording {str(self.path)!r} cannot be written in its folder, at {size[0]}x{size[1]}")


def check_path(path: Path) -> None:
    """Refuse a name that no recording can have.

    Raises:
        UsageError: its suffix is no video's.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"recording {str(path)!r}: the name must end in {', '.join(SUFFIXES)}")
