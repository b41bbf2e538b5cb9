"""Where the window is placed on the screen."""

from __future__ import annotations

import pytest

from cae_runtime.screen.qt_screen import Area, fitted


@pytest.mark.parametrize("area", [Area(0, 0, 1366, 768), Area(70, 27, 1850, 1053), Area(1920, 0, 1280, 720)])
@pytest.mark.parametrize("size", [(640, 480), (1280, 853), (720, 960), (1280, 128), (128, 2000)])
def test_a_window_fits_on_the_screen_with_its_title_and_aspect_ratio(size: tuple[int, int], area: Area) -> None:
    left, top, width, height = fitted(size, area)
    assert left >= area.left
    assert left + width <= area.left + area.width
    assert top >= area.top + 40
    assert top + 40 + height <= area.top + area.height
    assert max(width - size[0], height - size[1]) <= 0
    assert abs(width * size[1] - height * size[0]) <= max(size)


def test_a_window_that_fits_keeps_its_size() -> None:
    assert fitted((640, 480), Area(0, 0, 1000, 700))[2:] == (640, 480)
