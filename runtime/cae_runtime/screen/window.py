"""An OpenCV window: opens it if there is a display, and reads keys, mouse and size."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import cv2

from cae_runtime.io.arrays import FrameArray
from cae_runtime.screen.qt_screen import fitted, free_area
from cae_runtime.screen.qt_wheel import keep_scale
from cae_shared.children import end_child, start_child

TITLE: Final = "CAE Toolkit"
CLOSED: Final = "closed"
_NO_KEY: Final = -1
_NAMES: Final = {
    27: "esc", 0xFF1B: "esc", 32: "space", ord("="): "+", ord("_"): "-", 0xFFAB: "+", 0xFFAD: "-",
    0xFF51: "left", 0xFF52: "up", 0xFF53: "right", 0xFF54: "down",
    0xF702: "left", 0xF700: "up", 0xF703: "right", 0xF701: "down",  # macOS
}  # fmt: skip
_OF_WINDOWS: Final = {0x25: "left", 0x26: "up", 0x27: "right", 0x28: "down"}  # in the higher 16 bits
_TRIAL: Final = "import cv2; cv2.namedWindow('trial'); cv2.destroyAllWindows()"


class Mouse(NamedTuple):
    """A mouse event.

    Attributes:
        kind: `press` or `release` of the left button, `drag` with the button pressed, or `wheel`.
        x: column of the window, in pixels.
        y: row of the window, in pixels.
        steps: steps of the wheel; positive away from the user.
    """

    kind: Literal["press", "drag", "release", "wheel"]
    x: int
    y: int
    steps: int = 0


class DisplayTrial:
    """Tests whether a window can be opened, in a separate process, since Qt ends the process if not."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-c", _TRIAL]
        self._trial = start_child(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        """Cancel the test."""
        end_child(self._trial)

    def succeeds(self) -> bool:
        """Wait for the result."""
        try:
            return self._trial.wait(timeout=20) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            end_child(self._trial)


class Window:
    """The OpenCV window; check with `DisplayTrial` first whether it can be opened.

    Args:
        size: initial width and height in pixels; less where the screen is smaller, as far as that is known.
        on_mouse: called with each mouse event.
    """

    def __init__(self, size: tuple[int, int], on_mouse: Callable[[Mouse], None]) -> None:
        self._on_mouse = on_mouse
        self._is_full = False
        self._shown = False
        self._events: list[tuple[int, int, int, int]] = []
        self._interrupted = False
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        if area := free_area():
            left, top, *sides = fitted(size, area)
            size = (sides[0], sides[1])
            cv2.moveWindow(TITLE, left, top)
        cv2.resizeWindow(TITLE, *size)
        cv2.setMouseCallback(TITLE, self._note)
        self._size = size

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing area in pixels."""
        with contextlib.suppress(cv2.error):  # it was closed
            _, _, width, height = cv2.getWindowImageRect(TITLE)
            if width > 0 and height > 0:
                self._size = (width, height)
        return self._size

    def show(self, canvas: FrameArray) -> None:
        """Show a picture, uint8 (H, W, 3) BGR of the window's size; does nothing once the window is closed."""
        if not (self._shown and self._is_closed()):
            cv2.imshow(TITLE, canvas)
            self._shown = True

    def poll(self) -> list[str]:
        """Process window events; return the keys pressed since the last call, such as `q`, `+`, `left`, `closed`."""
        found = []
        while (code := cv2.waitKeyEx(2)) != _NO_KEY:
            key = code & 0xFFFF  # modifiers are in the bits above
            name = _NAMES.get(key) or (chr(key).lower() if 0 < key < 0x80 else "")
            found.append(name or _OF_WINDOWS.get(code >> 16, ""))
        if self._interrupted:
            raise KeyboardInterrupt
        events, self._events = self._events, []
        for event in events:
            self._heed(*event)
        if self._shown and self._is_closed():
            found.append(CLOSED)
        return found

    def toggle_full_screen(self) -> None:
        """Switch full screen on or off."""
        self._is_full = not self._is_full
        state = cv2.WINDOW_FULLSCREEN if self._is_full else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, state)

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()

    def _is_closed(self) -> bool:
        try:
            return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # OpenCV 5 raises for a closed window
            return True

    def _note(self, event: int, x: int, y: int, flags: int, _data: object) -> None:
        """Record an event. OpenCV calls this and swallows exceptions, so `poll` does the work."""
        try:
            self._events.append((event, x, y, flags))
        except KeyboardInterrupt:
            self._interrupted = True

    def _heed(self, event: int, x: int, y: int, flags: int) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            self._on_mouse(Mouse("press", x, y))
        elif event == cv2.EVENT_LBUTTONUP:
            self._on_mouse(Mouse("release", x, y))
        elif event == cv2.EVENT_MOUSEMOVE and flags & cv2.EVENT_FLAG_LBUTTON:
            self._on_mouse(Mouse("drag", x, y))
        elif event == cv2.EVENT_MOUSEWHEEL:
            left, top, width, height = cv2.getWindowImageRect(TITLE)
            keep_scale((left + width // 2, top + height // 2))
            self._on_mouse(Mouse("wheel", x, y, 1 if flags > 0 else -1))
