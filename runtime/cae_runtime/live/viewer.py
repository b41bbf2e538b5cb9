"""The live window: shows pictures, and turns keys and mouse into changes of the view."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from cae_runtime.io.arrays import FrameArray
from cae_runtime.io.image_files import write_file
from cae_runtime.live.overlay import ViewState, compose
from cae_runtime.screen.drawing import place
from cae_runtime.screen.viewer import COMMON_KEYS, BaseViewer, Key, help_of
from cae_runtime.screen.window import Mouse

_SIDE_MAX: Final = (1280, 960)  # initial window size


class Viewer(BaseViewer):
    """A window with a view.

    Args:
        view: what is shown; keys and mouse change it.
        size: width and height of the frames.
    """

    def __init__(self, view: ViewState, size: tuple[int, int]) -> None:
        self._view = view
        self._pair: tuple[FrameArray, FrameArray] | None = None
        self._lines: list[str] = []
        where = place(size, _SIDE_MAX)
        smaller = where.width < size[0]
        super().__init__(view, (where.width, where.height) if smaller else size, KEYS)

    def show(self, original: FrameArray, cleaned: FrameArray, lines: list[str]) -> None:
        """Show a frame before and after cleaning, uint8 (H, W, 3), BGR, and the overlay's lines."""
        self._pair, self._lines = (original, cleaned), lines
        self._draw()

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

    @property
    def _message_stays(self) -> bool:
        return self._view.frozen

    def _compose_and_show(self) -> None:
        if self._pair is not None:
            self._window.show(compose(*self._pair, self._window.size, self._view, self._lines, _HELP))

    def _state(self) -> object:
        return None  # a new frame is drawn when it is shown

    def _freeze(self) -> None:
        self._view.frozen = not self._view.frozen
        self._view.message = "frozen: press space to continue" if self._view.frozen else ""

    def _change_strength(self, steps: int) -> None:
        self._view.stronger(steps)
        self._view.message = f"strength {self._view.strength:.0%}"

    def _on_mouse(self, mouse: Mouse) -> None:
        if mouse.kind in ("press", "drag") and self._view.compare and self._pair:
            height, width = self._pair[0].shape[:2]
            self._view.divider = place((width, height), self._window.size).divider_at(mouse.x)


KEYS: Final = (
    Key("C", "compare with the original; drag the line", {"c": Viewer.toggle_compare}),
    Key("I", "figures", {"i": Viewer.toggle_figures}),
    Key("S", "save a snapshot of both pictures", {"s": lambda _: "snapshot"}),
    Key("R", "record, and stop recording", {"r": lambda _: "record"}),
    Key("space", "freeze the picture", {"space": Viewer._freeze}),
    Key(
        "+ -",
        "stronger, weaker",
        {"+": lambda viewer: viewer._change_strength(1), "-": lambda viewer: viewer._change_strength(-1)},
    ),
    *COMMON_KEYS,
)
_HELP: Final = help_of(KEYS)
