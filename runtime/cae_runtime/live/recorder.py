"""Records the live picture: a video of constant rate that follows the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.io.stderr import quiet
from cae_runtime.screen.drawing import fitted
from cae_shared.folders import make_folder
from cae_shared.temporary import discard, rename, temporary_beside

SUFFIXES: Final = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_DEFAULT_RATE: Final = 30.0
_RATES: Final = (1.0, 120.0)
_GAP_MAX: Final = 2.0  # longest gap in seconds; longer ones are shortened to this


class Recorder:
    """Writes frames as they arrive; each is repeated until the next one, so that the recording follows the clock.

    The file appears whole or not at all.

    Args:
        path: the file; its suffix chooses the format.
        rate: frames per second, or None for 30.
        overwrite: whether to replace an existing file when the recording is complete.

    Attributes:
        path: the file.
        frames: frames written.

    Raises:
        UsageError: the suffix is not supported, or the file exists.
    """

    def __init__(self, path: Path, rate: float | None, overwrite: bool = False) -> None:
        check_path(path, overwrite)
        self._overwrite = overwrite
        self.path, self.frames = path, 0
        self._rate = min(max(rate or _DEFAULT_RATE, _RATES[0]), _RATES[1])
        self._partial = temporary_beside(path, path.suffix)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._began = 0.0
        self._last: FrameArray | None = None

    def write(self, frame: FrameArray, time: float) -> None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3), BGR; if its size differs from the first, it is fitted into that.
            time: when it was captured, in seconds of any clock; not decreasing.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._writer is None:
            self._writer = self._open((frame.shape[1], frame.shape[0]))
            self._began = time
        gap = time - self._began - self.frames / self._rate
        if gap > _GAP_MAX:
            self._began += gap - _GAP_MAX
        due = round((time - self._began) * self._rate)
        while self._last is not None and self.frames < due:
            self._writer.write(self._last)
            self.frames += 1
        self._last = fitted(frame, self._size)
        if self.frames <= due:
            self._writer.write(self._last)
            self.frames += 1

    def close(self) -> None:
        """Close the file and rename it to its final name. No file is written if no frame was added.

        Raises:
            ImageError: it cannot be written, as on a full disk.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if not _plays(self._partial, self.frames):
                raise ImageError(f"recording {str(self.path)!r} could not be written completely: is the disk full?")
            while self.path.exists() and not self._overwrite:  # created by another program meanwhile
                self.path = self.path.with_stem(f"{self.path.stem}-2")
            rename(self._partial, self.path)
        except OSError as e:
            raise ImageError(f"recording {str(self.path)!r} cannot be written: {e.strerror}") from e
        finally:
            discard(self._partial)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        self._size = size
        code = cv2.VideoWriter.fourcc(*SUFFIXES[self.path.suffix.lower()])
        try:
            make_folder(self.path.parent)
            self._partial.touch(exist_ok=False)
        except OSError as e:
            raise ImageError(f"recording {str(self.path)!r} cannot be written: {e.strerror}") from e
        with quiet():
            writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, code, self._rate, size)
        if not writer.isOpened():
            discard(self._partial)
            raise ImageError(f"recording {str(self.path)!r} cannot be written at {size[0]}x{size[1]}")
        return writer


def check_path(path: Path, overwrite: bool = False) -> None:
    """Refuse an invalid name for a recording.

    Raises:
        UsageError: its suffix is not supported, or it exists and must not be replaced, or is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"recording {str(path)!r}: the name must end in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UsageError(f"recording {str(path)!r} is a folder: name a file in it")
    if path.exists() and not overwrite:
        raise UsageError(f"recording {str(path)!r} exists already: name another file, or pass overwrite=True")


@quiet()
def _plays(path: Path, frames: int) -> bool:
    """Whether a written file contains its frames; OpenCV does not report failed writes."""
    reader = cv2.VideoCapture(str(path))
    try:
        return bool(reader.read()[0]) and reader.get(cv2.CAP_PROP_FRAME_COUNT) >= frames
    finally:
        reader.release()
