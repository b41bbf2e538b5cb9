"""The live window: shows pictures, and turns keys and mouse into changes of the view."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import cv2

from cae_runtime.io.arrays import FrameArray
from cae_runtime.io.image_files import write_file
from cae_runtime.live.overlay import ViewState, compose, place
from cae_runtime.live.window import CLOSED, Window

_SIDE_MAX: Final = (1280, 960)  # initial window size
_MESSAGE_SECONDS: Final = 3.0


class Viewer:
    """A window with a view.

    Args:
        view: what is shown; keys and mouse change it.
        size: width and height of the frames.
    """

    def __init__(self, view: ViewState, size: tuple[int, int]) -> None:
        self._view = view
        where = place(size, _SIDE_MAX)
        smaller = where.width < size[0]
        self._window = Window((where.width, where.height) if smaller else size, self._drag)
        self._pair: tuple[FrameArray, FrameArray] | None = None
        self._lines: list[str] = []
        self._message, self._message_since = "", 0.0
        self._drawn = ""

    def show(self, original: FrameArray, cleaned: FrameArray, lines: list[str]) -> None:
        """Show a frame before and after cleaning, uint8 (H, W, 3), BGR, and the overlay's lines."""
        self._pair, self._lines = (original, cleaned), lines
        self._draw()

    def refresh(self) -> None:
        """Draw the same frame again if the view or the window has changed."""
        if self._pair and self._drawn != self._state():
            self._draw()

    def commands(self) -> list[str]:
        """Handle the keys pressed since the last call; return actions for the caller: `end`, `record`, `snapshot`."""
        actions = {name: action for key in KEYS for name, action in key.actions.items()}
        pressed = [actions[name](self) for name in self._window.poll() if name in actions]
        return [command for command in pressed if command]

    def snapshot(self, cleaned: Path) -> tuple[Path, Path]:
        """Save the shown frame as NAME-original.png and NAME-cleaned.png; return both names.

        Raises:
            ImageError: they cannot be written.
        """
        paths = cleaned.with_name(cleaned.name.replace("-cleaned", "-original")), cleaned
        if self._pair:
            for path, image in zip(paths, self._pair, strict=True):
                write_file(path, cv2.imencode(".png", image)[1].tobytes())
        return paths

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _draw(self) -> None:
        if self._pair is None:
            return
        self._let_message_pass()
        self._drawn = self._state()
        self._window.show(compose(*self._pair, self._window.size, self._view, self._lines, _HELP))

    def _state(self) -> str:
        self._let_message_pass()
        return f"{self._view} {self._window.size}"

    def _let_message_pass(self) -> None:
        now = time.monotonic()
        if self._view.message != self._message:
            self._message, self._message_since = self._view.message, now
        elif self._message and now - self._message_since > _MESSAGE_SECONDS and not self._view.frozen:
            self._view.message = self._message = ""

    def _compare(self) -> None:
        self._view.compare = not self._view.compare

    def _figures(self) -> None:
        self._view.figures = not self._view.figures

    def _help(self) -> None:
        self._view.help = not self._view.help

    def _freeze(self) -> None:
        self._view.frozen = not self._view.frozen
        self._view.message = "frozen: space goes on" if self._view.frozen else ""

    def _change_strength(self, steps: int) -> None:
        self._view.stronger(steps)
        self._view.message = f"strength {self._view.strength:.0%}"

    def _full_screen(self) -> None:
        self._window.toggle_full_screen()

    def _drag(self, x: int) -> None:
        if self._view.compare and self._pair:
            height, width = self._pair[0].shape[:2]
            self._view.divider = place((width, height), self._window.size).divider_at(x)


class Key(NamedTuple):
    """A key of the window.

    Attributes:
        shown: the key, as the help shows it.
        help: what it does.
        actions: what is called, by the names that `Window.poll` gives; a text that it returns is an action for the
            caller of `Viewer.commands`.
    """

    shown: str
    help: str
    actions: dict[str, Callable[[Viewer], str | None]]


def _end(_: Viewer) -> str:
    return "end"


KEYS: Final = (
    Key("C", "compare with the original; drag the line", {"c": Viewer._compare}),
    Key("I", "figures", {"i": Viewer._figures}),
    Key("S", "save a snapshot of both pictures", {"s": lambda _: "snapshot"}),
    Key("R", "record, and stop recording", {"r": lambda _: "record"}),
    Key("space", "freeze the picture", {"space": Viewer._freeze}),
    Key(
        "+ -",
        "stronger, weaker",
        {"+": lambda viewer: viewer._change_strength(1), "-": lambda viewer: viewer._change_strength(-1)},
    ),
    Key("F", "full screen", {"f": Viewer._full_screen}),
    Key("H", "these keys", {"h": Viewer._help}),
    Key("Q, Esc", "end", {"q": _end, "esc": _end, CLOSED: _end}),
)
_HELP: Final = [(key.shown, key.help) for key in KEYS]
