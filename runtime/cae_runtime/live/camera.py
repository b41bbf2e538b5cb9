"""Sources of live pictures: a camera, a stream, or a file that plays like a camera."""

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
from cae_runtime.io.stderr import quiet
from cae_runtime.live.video_devices import listed_cameras
from cae_shared.text import masked

_ADDRESS: Final = re.compile(r"(rtsp|rtsps|rtmp|http|https|udp|srt)://\S+", re.IGNORECASE)
_DEVICE: Final = re.compile(r"/dev/video\d+")
_PATIENCE_MS: Final = 10_000  # timeout for an address that does not answer
_PROBED: Final = 6  # numbers that are tried if the system has no list
_BACKENDS: Final = {  # of OpenCV, in the order in which they are tried
    "Linux": (cv2.CAP_V4L2,),
    "Windows": (cv2.CAP_MSMF, cv2.CAP_DSHOW),
    "Darwin": (cv2.CAP_AVFOUNDATION,),
}
_RATE_MAX: Final = 1000.0  # frames per second; larger values are not believed


class Device(Protocol):
    """A source of frames, such as `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]:
        """Return whether a frame was read, and the frame."""

    def get(self, property_id: int, /) -> float:
        """Return one of OpenCV's properties, 0 if it is unknown."""

    def release(self) -> None:
        """Release the device."""


@dataclass(frozen=True)
class Source:
    """A camera, stream or file to open.

    Attributes:
        name: what messages call it.
        target: device number, path of a device or file, or address.
        is_file: a file, which plays at its own rate and ends.
        size: requested width and height, or None.
        fps: requested frames per second, or None.
    """

    name: str
    target: int | str
    is_file: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None


def parse_source(text: str, size: tuple[int, int] | None = None, fps: float | None = None) -> Source:
    """Parse the value of `--camera`: a number, /dev/videoN, a video file, or an address.

    Raises:
        UsageError: it is none of these, or a size or rate was requested from a file or stream, which has its own.
    """
    if not text:
        raise UsageError(
            f"camera is empty: give a number, a device such as /dev/video0, a video file, or an address{_listed()}"
        )
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return Source(f"camera {int(text)}", int(text), size=size, fps=fps)
    path, shown = Path(text), _without_password(text)
    is_address = _ADDRESS.fullmatch(text) is not None
    if _DEVICE.fullmatch(text):
        return Source(f"camera {text}", text, size=size, fps=fps)
    try:
        is_file = not is_address and path.is_file()
        what = "it is a folder" if path.is_dir() else "it is not a file" if path.exists() else "there is no such file"
    except OSError:
        is_file, what = False, "there is no such file"
    if (is_file or is_address) and (size or fps):
        raise UsageError(f"camera {shown!r} has its own size and frame rate: leave both out")
    if is_address:
        return Source(shown, text)
    if is_file:
        return Source(repr(text), str(path), is_file=True)
    raise UsageError(
        f"camera is {shown!r}: {what}; give a number, a device such as /dev/video0, a video file, or an address "
        f"such as rtsp://host/stream{_listed()}"
    )


@quiet()
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
        ):  # many cameras deliver large pictures at a good rate only as JPEG; others ignore this
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        device.set(cv2.CAP_PROP_FRAME_WIDTH, source.size[0])
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, source.size[1])
    if source.fps:
        device.set(cv2.CAP_PROP_FPS, source.fps)
    if not source.is_file:
        device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return device


@quiet()
def _opened_camera(target: int | str) -> cv2.VideoCapture:
    """Open a camera through the system's interface: Video4Linux, Media Foundation or DirectShow, AVFoundation.

    If it cannot be opened, a closed device is returned.
    """
    device = cv2.VideoCapture()
    for backend in _BACKENDS.get(platform.system(), (cv2.CAP_ANY,)):
        if device.open(target, backend):
            break
    return device


def _refuse_no_video(source: Source) -> None:
    """Refuse a file that FFmpeg might read as a list of other files to open.

    Raises:
        DeviceError: it is not one of the supported containers.
    """
    try:
        with Path(str(source.target)).open("rb") as file:
            is_video = starts_like_a_video(file.read(16))
    except OSError as e:
        raise DeviceError(f"{source.name} cannot be opened: {e.strerror}") from e
    if not is_video:
        raise DeviceError(f"{source.name} cannot be opened: it is not a video (MP4, MOV, Matroska, WebM, AVI)")


def rate_of(device: Device) -> float | None:
    """Return the frame rate that a device reports, None if it is not plausible."""
    rate = device.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= _RATE_MAX else None


def as_frame(picture: object) -> FrameArray | None:
    """Return a device's frame as uint8 (H, W, 3) BGR, or None if it is not a picture."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or not 0 < picture.size <= 4 * PIXELS_MAX:
        return None
    if picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 1):
        return cast(FrameArray, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    if picture.ndim == 3 and picture.shape[2] == 4:
        return cast(FrameArray, cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR))
    return picture if picture.ndim == 3 and picture.shape[2] == 3 else None


def find_cameras() -> dict[int, str]:
    """Return the available cameras, number -> name; if the system has no list, each number is tried."""
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
        return "it is damaged, or OpenCV does not read such videos"
    if _is_address(source.target):
        return "it does not answer, or gives no video"
    path = Path(f"/dev/video{source.target}") if isinstance(source.target, int) else Path(source.target)
    if platform.system() != "Linux":
        return "it is not connected, in use by another program, or not allowed (see the system's privacy settings)"
    if not path.exists():
        return f"it is not connected{_listed()}"
    try:
        path.open("rb").close()
    except PermissionError:
        return f"{path} may not be read by this user (on most systems: join the group video)"
    except OSError as e:
        return f"{path}: {e.strerror}"
    return "it is in use by another program, or is not a camera"


def _listed() -> str:
    """Return the cameras of this machine in parentheses; nothing if the system has no list."""
    if platform.system() != "Linux":
        return ""
    here = ", ".join(f"{number} ({name})" for number, name in listed_cameras().items()) or "none"
    return f" (cameras here: {here})"


def _is_address(target: int | str) -> bool:
    return isinstance(target, str) and _ADDRESS.fullmatch(target) is not None


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return masked(f"{scheme}{separator}{rest.rpartition('@')[2]}") if separator else address
