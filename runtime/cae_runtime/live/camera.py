"""Where live pictures come from: a camera, a stream or a file that plays like one; opened, checked, named."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import cv2
import numpy as np

from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.io.formats import starts_like_a_video
from cae_runtime.io.image_files import PIXELS_MAX
from cae_runtime.live.video_devices import listed_cameras

_ADDRESS: Final = re.compile(r"(rtsp|rtsps|rtmp|http|https|udp|srt)://\S+", re.IGNORECASE)
_DEVICE: Final = re.compile(r"/dev/video\d+")
_PATIENCE_MS: Final = 10_000  # for an address that does not answer
_PROBED: Final = 6  # numbers that are tried where the system keeps no list
_BACKENDS: Final = {  # of OpenCV, in the order in which they are tried
    "Linux": (cv2.CAP_V4L2,),
    "Windows": (cv2.CAP_MSMF, cv2.CAP_DSHOW),
    "Darwin": (cv2.CAP_AVFOUNDATION,),
}
_RATE_MAX: Final = 1000.0  # frames a second; what claims more tells nothing


class Device(Protocol):
    """What frames are read from; `cv2.VideoCapture` is one."""

    def read(self) -> tuple[bool, Any]:
        """Return whether there is a frame, and the frame."""

    def get(self, property_id: int, /) -> float:
        """Return a property of OpenCV's list, 0 where it is unknown."""

    def release(self) -> None:
        """Give the device back."""


@dataclass(frozen=True)
class Source:
    """What is to be opened.

    Attributes:
        name: what messages call it.
        target: device number, path of a device or file, or address.
        is_file: a file, which plays at its own rate and ends.
        size: width and height that are asked for, or None.
        fps: frames a second that are asked for, or None.
    """

    name: str
    target: int | str
    is_file: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None


def parse_source(text: str, size: tuple[int, int] | None = None, fps: float | None = None) -> Source:
    """Read what `--camera` takes: a number, /dev/videoN, a video file, or an address.

    Raises:
        UsageError: it is none of them, or a size or rate is asked of what has its own.
    """
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return Source(f"camera {int(text)}", int(text), size=size, fps=fps)
    path, shown = Path(text), _without_password(text)
    is_address = _ADDRESS.fullmatch(text) is not None
    if _DEVICE.fullmatch(text):
        return Source(f"camera {text}", text, size=size, fps=fps)
    try:
        is_file = not is_address and path.is_file()
        what = "it is a folder" if path.is_dir() else "it is no file" if path.exists() else "there is no such file"
    except OSError:
        is_file, what = False, "there is no such file"
    if (is_file or is_address) and (size or fps):
        raise UsageError(f"--camera {shown!r} has its own size and rate: leave --size and --fps out")
    if is_address:
        return Source(shown, text)
    if is_file:
        return Source(repr(text), str(path), is_file=True)
    raise UsageError(
        f"--camera is {shown!r}: {what}; give a number, a device such as /dev/video0, a video file, or an address "
        "such as rtsp://host/stream (--list-cameras names what is here)"
    )


def open_device(source: Source) -> Device:
    """Open a camera, a stream or a file.

    Raises:
        DeviceError: it cannot be opened.
    """
    if source.is_file:
        _refuse_no_video(source)
    is_camera = not source.is_file and not _is_address(source.target)
    if not is_camera:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE_MS]
        device = cv2.VideoCapture(str(source.target), cv2.CAP_FFMPEG, [] if source.is_file else timeouts)
    else:
        device = _opened_camera(source.target)
    if not device.isOpened():
        device.release()
        raise DeviceError(f"{source.name} cannot be opened: {_why(source)}")
    if source.size:
        if (
            is_camera and platform.system() == "Linux"
        ):  # many cameras give large pictures at a good rate only as JPEG; others ignore it
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        device.set(cv2.CAP_PROP_FRAME_WIDTH, source.size[0])
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, source.size[1])
    if source.fps:
        device.set(cv2.CAP_PROP_FPS, source.fps)
    if not source.is_file:
        device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return device


def _opened_camera(target: int | str) -> cv2.VideoCapture:
    """Open a camera by the system's own interface: Video4Linux, Media Foundation or DirectShow, AVFoundation.

    One that cannot be opened comes back closed.
    """
    device = cv2.VideoCapture()
    for backend in _BACKENDS.get(platform.system(), (cv2.CAP_ANY,)):
        if device.open(target, backend):
            break
    return device


def _refuse_no_video(source: Source) -> None:
    """Refuse a file that FFmpeg might take for a list of others to open.

    Raises:
        DeviceError: it is none of the containers that are read.
    """
    try:
        with Path(str(source.target)).open("rb") as file:
            is_video = starts_like_a_video(file.read(16))
    except OSError as e:
        raise DeviceError(f"{source.name} cannot be opened: {e.strerror}") from e
    if not is_video:
        raise DeviceError(f"{source.name} cannot be opened: it is no video (MP4, MOV, Matroska, WebM, AVI)")


def rate_of(device: Device) -> float | None:
    """Return the frames a second that a device says it gives, None where it says nothing sensible."""
    rate = device.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= _RATE_MAX else None


def as_frame(picture: object) -> FrameArray | None:
    """Return what a device gave as uint8 (H, W, 3) BGR, or None where it is no picture."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or not 0 < picture.size <= 4 * PIXELS_MAX:
        return None
    if picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 1):
        return cast(FrameArray, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    if picture.ndim == 3 and picture.shape[2] == 4:
        return cast(FrameArray, cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR))
    return picture if picture.ndim == 3 and picture.shape[2] == 3 else None


def find_cameras() -> dict[int, str]:
    """Return number -> name of the cameras that are here; without a list of the system's, they are opened in turn."""
    if platform.system() == "Linux":
        return listed_cameras()
    found = {}
    for number in range(_PROBED):
        device = _opened_camera(number)
        if device.isOpened():
            width, height = (int(device.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            found[number] = f"{width}x{height}"
        device.release()
    return found


def _why(source: Source) -> str:
    if source.is_file:
        return "it is damaged, or no video that OpenCV reads"
    if _is_address(source.target):
        return "it does not answer, or gives no video"
    path = Path(f"/dev/video{source.target}") if isinstance(source.target, int) else Path(source.target)
    here = ", ".join(f"{number} ({name})" for number, name in listed_cameras().items()) or "none"
    if platform.system() != "Linux":
        return "it is not there, in use by another program, or not allowed (see the system's privacy settings)"
    if not path.exists():
        return f"it is not there (cameras here: {here})"
    try:
        path.open("rb").close()
    except PermissionError:
        return f"{path} may not be read by this user (on most systems: join the group video)"
    except OSError as e:
        return f"{path}: {e.strerror}"
    return "it is in use by another program, or no camera"


def _is_address(target: int | str) -> bool:
    return isinstance(target, str) and _ADDRESS.fullmatch(target) is not None


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else address
