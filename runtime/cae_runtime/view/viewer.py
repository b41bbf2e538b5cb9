"""The window for pictures: handles keys and mouse, and draws the view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cae_runtime.io.arrays import FrameArray
from cae_runtime.screen.drawing import (
    draw_box,
    draw_divider,
    draw_keys,
    draw_panel,
    place,
    slider_places,
    text_scale,
    wrapped,
)  # fmt: skip
from cae_runtime.screen.viewer import COMMON_KEYS, BaseViewer, Key, WindowState, help_of, stepped
from cae_runtime.screen.window import Mouse
from cae_runtime.tasks.strength_blending import blended
from cae_runtime.tasks.strengths import FULL, Strengths
from cae_runtime.view.background import Background, Wanted
from cae_runtime.view.placement import Placement
from cae_runtime.view.tiles import Box

_FIRST_SIZE: Final = (1280, 960)  # of the window, at most
_LEAST_SIZE: Final = (640, 480)
_GRIP: Final = 10  # pixels on each side of the line where the mouse takes hold of it
_BACKGROUND: Final = 24  # gray level around pictures


@dataclass
class PictureState(WindowState):
    """The state of the view.

    Attributes:
        strengths: how strongly brightness and color are cleaned, 0..1.
    """

    strengths: Strengths = FULL

    def change(self, brightness: int, color: int) -> None:
        """Change the strengths by some steps of 0.1."""
        now = self.strengths
        self.strengths = Strengths(stepped(now.brightness, brightness), stepped(now.color, color))


class PictureViewer(BaseViewer):
    """A window with one picture at a time.

    Args:
        view: the state of the view, which keys and mouse change.
        background: the thread that reads and cleans the picture.
        picture: width and height of the first picture in pixels, from which the window's size follows.
    """

    def __init__(self, view: PictureState, background: Background, picture: tuple[int, int]) -> None:
        self._view, self._background = view, background
        self._lines: list[str] = []
        self._notes: list[str] = []
        self._placement: Placement | None = None
        self._held: str | int = ""  # what the mouse drags: `line`, `picture`, or the number of a slider
        self._at = (0, 0)
        where = place(picture, _FIRST_SIZE)
        size = (where.width, where.height) if where.width < picture[0] else picture
        super().__init__(view, (max(size[0], _LEAST_SIZE[0]), max(size[1], _LEAST_SIZE[1])), KEYS)

    def opened(self) -> None:
        """Show another picture, at first as a whole."""
        self._placement = None

    def say(self, lines: list[str], notes: list[str]) -> None:
        """Set the lines in the upper corner, and those in the lower one, which messages cover."""
        size = self._window.size
        self._lines, self._notes = ([part for text in each for part in wrapped(text, size)] for each in (lines, notes))

    @property
    def zoom(self) -> str:
        """The scale in words, such as `100 %`."""
        return f"{self._placement.scale:.0%}".replace("%", " %") if self._placement else ""

    def wanted(self) -> Wanted:
        """Return what the window shows, which is cleaned first."""
        placement = self._fitted()
        if placement is None:
            return Wanted((), None)
        divider = self._view.divider if self._view.compare else 0.0
        if placement.whole:
            width, height = placement.size
            return Wanted((Box(0, min(width - 1, int(divider * width)), height, width),), placement.size)
        return Wanted((placement.seen(divider), placement.seen()), None)

    def _fitted(self) -> Placement | None:
        """Return the placement of the picture in the window at its current size; None if it is not read yet."""
        full, size = self._background.full, self._window.size
        if full is None:
            return None
        if self._placement is None or self._placement.picture != full.size:
            self._placement = Placement(full.size, size)
        self._placement.resized(size)
        return self._placement

    def _state(self) -> object:
        placement = self._fitted()
        return self._background.version, tuple(self._lines), tuple(self._notes), placement and placement.state

    def _compose_and_show(self) -> None:
        width, height = self._window.size
        canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
        placement, scale = self._fitted(), text_scale((width, height))
        if placement is not None and (pair := self._pair(placement)):
            self._draw_pair(canvas, placement, *pair)
        if self._view.figures:
            draw_panel(canvas, self._lines, self._sliders())
        if self._view.help:
            draw_keys(canvas, _HELP, scale)
        below = wrapped(self._view.message, (width, height)) or (self._notes if self._view.figures else ())
        if below:
            draw_box(canvas, below, scale, top=False)
        self._window.show(canvas)

    def _pair(self, placement: Placement) -> tuple[FrameArray, FrameArray] | None:
        """Return the visible parts of original and cleaned; None if the picture is not read yet."""
        layer = self._background.small if placement.whole else self._background.full
        if layer is None or (placement.whole and layer.size != placement.size):
            return None
        if placement.whole:
            return np.ascontiguousarray(layer.original), np.ascontiguousarray(layer.cleaned)
        return placement.part(layer.original), placement.part(layer.cleaned)

    def _draw_pair(self, canvas: FrameArray, placement: Placement, original: FrameArray, cleaned: FrameArray) -> None:
        where = placement.where
        area = canvas[where.top : where.top + where.height, where.left : where.left + where.width]
        area[:] = placement.magnified(blended(original, cleaned, self._view.strengths))
        if self._view.compare:
            line = round(self._view.divider * where.width)
            area[:, :line] = placement.magnified(original)[:, :line]
            draw_divider(canvas, where, self._view.divider, text_scale((canvas.shape[1], canvas.shape[0])))

    def _sliders(self) -> list[tuple[str, float]]:
        return [("strength", self._view.strengths.brightness), ("color", self._view.strengths.color)]

    def _on_mouse(self, mouse: Mouse) -> None:
        placement = self._fitted()
        if mouse.kind == "wheel":
            if placement:
                placement.zoom(mouse.steps, (mouse.x, mouse.y))
        elif mouse.kind == "release":
            self._held = ""
        else:
            if mouse.kind == "press":
                self._held = self._grip(placement, mouse)
            self._drag(placement, mouse)
            self._at = mouse.x, mouse.y

    def _grip(self, placement: Placement | None, mouse: Mouse) -> str | int:
        """Return what the mouse grabs: `line`, `picture`, or the number of a slider."""
        if self._view.figures:
            for number, slider in enumerate(slider_places(self._window.size, 2, len(self._lines))):
                inside = slider.left - _GRIP <= mouse.x <= slider.left + slider.width + _GRIP
                if inside and slider.top <= mouse.y < slider.top + slider.height:
                    return number
        if placement is None:
            return ""
        line = placement.where.left + self._view.divider * placement.where.width
        if self._view.compare and (abs(mouse.x - line) <= _GRIP or not placement.movable):
            return "line"
        return "picture"

    def _drag(self, placement: Placement | None, mouse: Mouse) -> None:
        if isinstance(self._held, int):
            slider = slider_places(self._window.size, 2, len(self._lines))[self._held]
            value = round(slider.divider_at(mouse.x), 2)
            now = self._view.strengths
            # While both are equal, the first slider moves both, as --strength sets both on the command line.
            color = now.color if now.differ and not self._held else value
            self._view.strengths = Strengths(now.brightness if self._held else value, color)
        elif self._held == "line" and placement:
            self._view.divider = placement.where.divider_at(mouse.x)
        elif self._held == "picture" and placement and mouse.kind == "drag":
            placement.move(self._at[0] - mouse.x, self._at[1] - mouse.y)

    def _zoom_to(self, scale: float) -> None:
        """Set the scale; 0 shows the whole picture."""
        if placement := self._fitted():
            width, height = self._window.size
            placement.zoom_to(scale or placement.fit, (width // 2, height // 2))

    def _change(self, brightness: int, color: int) -> None:
        self._view.change(brightness, color)
        now = self._view.strengths
        apart = f", color {now.color:.0%}" if now.differ else ""
        self._view.message = f"strength {now.brightness:.0%}{apart}"


KEYS: Final = (
    Key("left, right", "previous and next picture", {"left": lambda _: "previous", "right": lambda _: "next"}),
    Key("wheel, 1 2 4 0", "zoom: 100, 200, 400 %, all", {
        "1": lambda viewer: viewer._zoom_to(1), "2": lambda viewer: viewer._zoom_to(2),
        "4": lambda viewer: viewer._zoom_to(4), "0": lambda viewer: viewer._zoom_to(0),
    }),
    Key("C", "compare with the original; drag the line", {"c": PictureViewer.toggle_compare}),
    Key("+ -", "stronger, weaker", {
        "+": lambda viewer: viewer._change(1, 1), "-": lambda viewer: viewer._change(-1, -1),
    }),
    Key("[ ]", "color only: weaker, stronger", {
        "[": lambda viewer: viewer._change(0, -1), "]": lambda viewer: viewer._change(0, 1),
    }),
    Key("M", "next model", {"m": lambda _: "model"}),
    Key("S, A", "save this picture; all of them", {"s": lambda _: "save", "a": lambda _: "save all"}),
    Key("I", "figures and sliders", {"i": PictureViewer.toggle_figures}),
    *COMMON_KEYS,
)  # fmt: skip
_HELP: Final = help_of(KEYS)
