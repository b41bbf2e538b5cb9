"""A virtual camera for conferencing programs, by pyvirtualcam from the extra `virtual-camera`."""

from __future__ import annotations

import platform
from typing import Any, Final

from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.screen.drawing import fitted

INSTALL: Final = "pip install 'cae-toolkit[virtual-camera]' (in a checkout: pip install -e '.[virtual-camera]')"
_SET_UP: Final = {
    "Linux": "sudo modprobe v4l2loopback exclusive_caps=1 card_label='CAE Toolkit'",
    "Darwin": "install OBS Studio 30 or later, and start its virtual camera once",
    "Windows": "install OBS Studio",
}


class VirtualCamera:
    """A virtual camera that other programs see.

    Args:
        size: width and height; frames of another size are fitted into it.
        rate: frames per second that it reports.

    Attributes:
        name: its name in other programs.

    Raises:
        UsageError: the extra is not installed.
        DeviceError: the system has no virtual camera.
    """

    def __init__(self, size: tuple[int, int], rate: float) -> None:
        try:
            import pyvirtualcam
        except ImportError as e:
            raise UsageError(f"virtual_camera=True needs an extra: {INSTALL}") from e
        self._size = size
        try:
            self._camera: Any = pyvirtualcam.Camera(*size, fps=rate, fmt=pyvirtualcam.PixelFormat.BGR)
        except (RuntimeError, OSError, ValueError) as e:
            reason = " ".join(str(e).split())[:200]
            hint = _SET_UP.get(platform.system(), "see runtime/LIVE.md")
            raise DeviceError(f"there is no virtual camera to write to ({reason}): {hint}") from e
        self.name: str = self._camera.device

    def send(self, frame: FrameArray) -> None:
        """Show a frame, uint8 (H, W, 3), BGR.

        Raises:
            DeviceError: the device is gone.
        """
        try:
            self._camera.send(fitted(frame, self._size))
        except (RuntimeError, OSError) as e:
            raise DeviceError(f"virtual camera {self.name} stopped: {' '.join(str(e).split())[:200]}") from e

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()
