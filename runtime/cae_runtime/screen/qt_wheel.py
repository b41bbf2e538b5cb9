"""Keeps OpenCV's Qt window from zooming by itself when the mouse wheel turns.

OpenCV draws its Qt window scaled by 1.1 for each step of the wheel, and has no setting against it
(https://github.com/opencv/opencv/issues/11500). Its viewport has a slot `resetZoom`, and this module makes Qt call it.
This works only with the Qt in the wheels of opencv-python; with any other Qt, nothing is done and OpenCV's zoom stays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import cv2

SPACE: Final = "14QtOpenCVPython"  # the C++ namespace of that Qt
_WIDGET_AT: Final = f"_ZN{SPACE}12QApplication8widgetAtERKNS_6QPointE"
_SINGLE_SHOT: Final = f"_ZN{SPACE}6QTimer10singleShotEiPKNS_7QObjectEPKc"
_RESET: Final = b"1resetZoom()"  # as Qt's macro SLOT writes it
_REPAINT: Final = b"1update()"  # `resetZoom` does not repaint
_WORD: Final = ctypes.sizeof(ctypes.c_void_p)


class _Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


def library(name: str) -> ctypes.CDLL:
    """Return a library of the Qt in the wheels of opencv-python, such as `Core`.

    Raises:
        OSError: there is no such Qt.
    """
    folder = Path(cv2.__file__).parents[1] / "opencv_python.libs"
    return ctypes.CDLL(str(next(folder.glob(f"libQt5{name}-*"), None)))


def keep_scale(place: tuple[int, int]) -> None:
    """Undo the zoom of the window at a position of the screen; call it in the thread that polls the window."""
    with suppress(OSError, AttributeError):
        _resetter()(place)


@cache
def _resetter() -> Callable[[tuple[int, int]], None]:
    """Return a function that resets the zoom.

    Raises:
        OSError, AttributeError: there is no such Qt.
    """
    core, widgets = library("Core"), library("Widgets")
    widget_at, single_shot = widgets[_WIDGET_AT], core[_SINGLE_SHOT]
    widget_at.restype, widget_at.argtypes = ctypes.c_void_p, [ctypes.POINTER(_Point)]
    single_shot.restype, single_shot.argtypes = None, [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p]

    def reset(place: tuple[int, int]) -> None:
        widget = widget_at(ctypes.byref(_Point(*place)))
        if not widget:
            return
        # A QObject is a vtable and a pointer to its data: a vtable, the object itself, its parent.
        data = ctypes.c_void_p.from_address(widget + _WORD).value
        if not data:
            return
        itself, parent = (ctypes.c_void_p.from_address(data + at * _WORD).value for at in (1, 2))
        if itself == widget and parent:  # the parent of the picture is the viewport that zooms
            single_shot(0, parent, _RESET)
            single_shot(0, widget, _REPAINT)

    return reset
