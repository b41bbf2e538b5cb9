"""The base class of both windows: keys, temporary messages, the line between original and cleaned."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cae_runtime.screen.window import Mouse, Window

_MESSAGE_SECONDS: Final = 3.0
_STEP: Final = 0.1  # change of a strength per key press


@dataclass
class WindowState:
    """What a window shows.

    Attributes:
        compare: original on the left of the line, cleaned on the right.
        divider: position of the line, 0..1 of the picture's width.
        figures: whether the overlay with figures is shown.
        help: whether the keys are shown.
        message: a line to show for a while, or empty.
    """

    compare: bool = False
    divider: float = 0.5
    figures: bool = False
    help: bool = False
    message: str = ""


class Key(NamedTuple):
    """A key of a window.

    Attributes:
        shown: the key, as the help shows it.
        help: what it does.
        actions: names of keys, as `Window.poll` returns them, and the functions that they call with the viewer. If a
            function returns a text, `BaseViewer.commands` passes it on to its caller.
    """

    shown: str
    help: str
    actions: Mapping[str, Callable[[Any], str | None]]


class BaseViewer(ABC):
    """A window whose view is changed by keys and mouse.

    Args:
        view: the state of the view.
        size: initial width and height of the window in pixels.
        keys: the keys and what they do.
    """

    def __init__(self, view: WindowState, size: tuple[int, int], keys: Sequence[Key]) -> None:
        self._base = view
        self._actions = {name: action for key in keys for name, action in key.actions.items()}
        self._window = Window(size, self._on_mouse)
        self._message, self._message_since = "", 0.0
        self._drawn: object = None

    def refresh(self) -> None:
        """Draw again if what is shown, the view or the window has changed."""
        if self._drawn != self._whole_state():
            self._draw()

    def commands(self) -> list[str]:
        """Handle the keys pressed since the last call; return actions for the caller, such as `end`."""
        pressed = [self._actions[name](self) for name in self._window.poll() if name in self._actions]
        return [command for command in pressed if command]

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def toggle_compare(self) -> None:
        """Show or hide the original beside the cleaned picture."""
        self._base.compare = not self._base.compare

    def toggle_figures(self) -> None:
        """Show or hide the figures."""
        self._base.figures = not self._base.figures

    def toggle_help(self) -> None:
        """Show or hide the keys."""
        self._base.help = not self._base.help

    def full_screen(self) -> None:
        """Switch full screen on or off."""
        self._window.toggle_full_screen()

    @property
    def _message_stays(self) -> bool:
        """Whether the current message stays until it is replaced."""
        return False

    @abstractmethod
    def _compose_and_show(self) -> None:
        """Draw what the window shows."""

    @abstractmethod
    def _state(self) -> object:
        """Return everything besides the view that the drawing depends on; if it changes, the window is drawn again."""

    @abstractmethod
    def _on_mouse(self, mouse: Mouse) -> None:
        """Handle a mouse event."""

    def _draw(self) -> None:
        self._drawn = self._whole_state()
        self._compose_and_show()

    def _whole_state(self) -> object:
        self._let_message_pass()
        return f"{self._base} {self._window.size}", self._state()

    def _let_message_pass(self) -> None:
        now = time.monotonic()
        if self._base.message != self._message:
            self._message, self._message_since = self._base.message, now
        elif self._message and now - self._message_since > _MESSAGE_SECONDS and not self._message_stays:
            self._base.message = self._message = ""


def stepped(strength: float, steps: int) -> float:
    """Return a strength changed by some steps of 0.1, within 0..1."""
    return min(1.0, max(0.0, round(strength + steps * _STEP, 6)))


def _end(_: BaseViewer) -> str:
    return "end"


END: Final = {"q": _end, "esc": _end, "closed": _end}
COMMON_KEYS: Final = (
    Key("F", "full screen", {"f": BaseViewer.full_screen}),
    Key("H", "these keys", {"h": BaseViewer.toggle_help}),
    Key("Q, Esc", "end", END),
)


def help_of(keys: Sequence[Key]) -> list[tuple[str, str]]:
    """Return each key and what it does."""
    return [(key.shown, key.help) for key in keys]
