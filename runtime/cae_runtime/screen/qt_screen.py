"""Where a window fits on the screen, as far as the Qt of the wheels of opencv-python knows it.

OpenCV opens a window at a small size and has no function for the size of the screen. So a large window would lie where
the small one was placed, and reach beyond the lower edge with its messages.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final, NamedTuple

from cae_runtime.screen.qt_wheel import SPACE, library

_PRIMARY: Final = f"_ZN{SPACE}15QGuiApplication13primaryScreenEv"
_AVAILABLE: Final = f"_ZNK{SPACE}7QScreen17availableGeometryEv"
_TITLE: Final = 40  # rows of a window's title, at most
_FRAME: Final = (8, 2 * _TITLE + 8)  # columns and rows to leave: some systems place the frame, others what is in it


class Area(NamedTuple):
    """A part of the screen, in pixels."""

    left: int
    top: int
    width: int
    height: int


class _Rectangle(ctypes.Structure):
    _fields_ = (("left", ctypes.c_int), ("top", ctypes.c_int), ("right", ctypes.c_int), ("bottom", ctypes.c_int))


def free_area() -> Area | None:
    """Return the part of the main screen that panels leave free, or None if it is not known; there must be a window."""
    with suppress(OSError, AttributeError):
        gui = library("Gui")
        primary, available = gui[_PRIMARY], gui[_AVAILABLE]
        primary.restype, primary.argtypes = ctypes.c_void_p, []
        available.restype, available.argtypes = _Rectangle, [ctypes.c_void_p]
        screen = primary()
        if screen:
            found = available(screen)
            return Area(found.left, found.top, found.right - found.left + 1, found.bottom - found.top + 1)
    return None


def fitted(size: tuple[int, int], area: Area) -> Area:
    """Return a place in the middle of an area for a window of this size, or of a smaller one if there is no room."""
    room = (area.width - _FRAME[0], area.height - _FRAME[1])
    scale = min(1.0, room[0] / size[0], room[1] / size[1])
    width, height = (max(1, int(side * scale)) for side in size)
    return Area(area.left + (area.width - width) // 2, area.top + _TITLE + (room[1] - height) // 2, width, height)
