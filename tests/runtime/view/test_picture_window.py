"""The window for pictures on a real display: real keys, a real mouse, screenshots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.live.test_window import HALF_RED, SCREEN, Session, display, is_cleaned, pytestmark, wait_for

from cae_runtime.view.layer import made_smaller

__all__ = ["display", "pytestmark"]  # the fixture, and what the tests need

Start = Callable[..., Session]
PANEL = 150  # rows below which neither the lines nor the sliders are


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of squares of 20 pixels in random light colors, larger than the first window and smaller."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name, (height, width) in {"a": (300, 400), "b": (1200, 1800), "c": (300, 400)}.items():
        colors = random.integers(150, 256, (height // 20, width // 20, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), np.repeat(np.repeat(colors, 20, axis=0), 20, axis=1))
    return folder


@pytest.fixture
def start(display: tuple[str, Path], tmp_path: Path, photos: Path) -> Iterator[Start]:
    opened: list[Session] = []

    def begin(*arguments: str | Path) -> Session:
        words = arguments or (photos, "-o", tmp_path / "out")
        opened.append(Session(display, tmp_path, *words, "-m", HALF_RED, "--provider", "cpu", opens="--view"))
        wait_for(lambda: opened[-1].picture().any())
        return opened[-1]

    yield begin
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def half_red(path: Path) -> np.ndarray:
    """What the test's model makes of a picture."""
    picture = np.asarray(cv2.imread(str(path))).astype(np.float64)
    picture[..., 2] = np.rint(picture[..., 2] / 2)
    return picture


def shows(window: Session, expected: np.ndarray, top: int, left: int) -> bool:
    """Whether a part of the window is that of a picture; a few levels apart, where rounding differs."""
    rows, columns = expected.shape[:2]
    part = window.picture()[top : top + rows, left : left + columns].astype(int)
    return part.shape == expected.shape and float(np.abs(part - expected).max()) <= 2


def test_original_and_cleaned_are_compared_with_a_line_to_drag(start: Start, photos: Path) -> None:
    window = start()
    x, y, width, height = window.geometry()
    assert (width, height) == (640, 480)
    left, top = (640 - 400) // 2, (480 - 300) // 2
    picture = np.asarray(cv2.imread(str(photos / "a.png"))).astype(int)
    wait_for(lambda: shows(window, half_red(photos / "a.png")[100:250, 210:], top + 100, left + 210))
    assert shows(window, picture[100:250, :190], top + 100, left)
    window.drag((x + 320, y + 300), (x + left + 300, y + 300))
    wait_for(lambda: shows(window, picture[100:250, 60:290], top + 100, left + 60))
    assert shows(window, half_red(photos / "a.png")[100:250, 310:], top + 100, left + 310)
    window.press("c")
    wait_for(lambda: shows(window, half_red(photos / "a.png")[100:280], top + 100, left))
    window.press("Escape")
    window.end()


@pytest.mark.parametrize(("height", "width"), [(2000, 1500), (1500, 2000), (300, 3000)])
def test_the_whole_window_is_on_the_screen(start: Start, tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.full((height, width, 3), 200, np.uint8))
    window = start(path)
    left, top, columns, _ = wait_for(lambda: (at := window.geometry())[1] + at[3] <= SCREEN[1] and at)
    assert min(left, top) > 0  # the title is above it
    assert left + columns <= SCREEN[0]
    window.press("q")
    window.end()


def test_wheel_and_mouse_zoom_and_pan_without_smoothing(start: Start, photos: Path) -> None:
    window = start()
    window.press("c")
    x, y, _, _ = window.geometry()
    cleaned = half_red(photos / "a.png")
    large = {scale: np.repeat(np.repeat(cleaned, scale, axis=0), scale, axis=1) for scale in (1, 2, 4)}
    at = (350, 300)  # of the window: column 230, row 210 of the picture
    for scale in (2, 4, 4):  # there is no further step
        window.wheel((x + at[0], y + at[1]), +1)
        top, left = 210 * scale - at[1], 230 * scale - at[0]
        part = large[scale][top + PANEL : top + 480, left : left + 640]
        wait_for(lambda part=part: shows(window, part, PANEL, 0))
    window.drag((x + 300, y + 300), (x + 411, y + 50))  # to the right, and up until the picture ends
    wait_for(lambda: shows(window, large[4][720 + PANEL :, left - 111 : left - 111 + 640], PANEL, 0))
    window.wheel((x + at[0], y + at[1]), -3)
    wait_for(lambda: shows(window, cleaned[PANEL - 90 : 290], PANEL, 120))
    window.press("2")
    wait_for(lambda: shows(window, large[2][60 + PANEL : 540, 80:720], PANEL, 0))
    window.press("0")
    wait_for(lambda: shows(window, cleaned[PANEL - 90 : 290], PANEL, 120))
    window.press("q")
    window.end()


def test_arrows_change_the_picture_and_large_ones_are_fitted(start: Start, photos: Path) -> None:
    window = start()
    window.press("c")
    window.press("Right")
    small = made_smaller(half_red(photos / "b.png").astype(np.uint8), (640, 427))
    wait_for(lambda: shows(window, small[PANEL:400, 10:], PANEL + 27, 10))
    window.press("Right")
    wait_for(lambda: shows(window, half_red(photos / "c.png")[PANEL - 90 : 290], PANEL, 120))
    window.press("Right")
    wait_for(lambda: shows(window, half_red(photos / "a.png")[PANEL - 90 : 290], PANEL, 120))
    window.press("Left")
    wait_for(lambda: shows(window, half_red(photos / "c.png")[PANEL - 90 : 290], PANEL, 120))
    window._do("windowsize", "--sync", window.window, "500", "420")
    wait_for(lambda: shows(window, half_red(photos / "c.png")[PANEL - 60 : 290], PANEL, 50))
    window.press("q")
    window.end()


def test_keys_and_sliders_change_strengths_and_m_changes_the_model(start: Start, photos: Path) -> None:
    window = start()
    window.press("c")
    red, part = half_red(photos / "a.png"), slice(PANEL - 90, 250)
    picture = np.asarray(cv2.imread(str(photos / "a.png"))).astype(int)

    def differs_from(expected: np.ndarray) -> float:
        return float(np.abs(window.picture()[PANEL : PANEL + 190, 120:520].astype(int) - expected[part]).mean())

    for _ in range(10):
        window.press("minus")
    wait_for(lambda: shows(window, picture[part], PANEL, 120))
    x, y, _, _ = window.geometry()
    window.drag((x + 90, y + 61), (x + 500, y + 61))  # the first slider takes the second along
    wait_for(lambda: shows(window, red[part], PANEL, 120))
    window.drag((x + 231, y + 81), (x + 30, y + 81))  # color alone: only the brightness changes
    gray = (picture * (0.114, 0.587, 0.299)).sum(axis=2, keepdims=True)
    darker = (red * (0.114, 0.587, 0.299)).sum(axis=2, keepdims=True)
    wait_for(lambda: differs_from(picture + darker - gray) < 1)
    for _ in range(10):
        window.press("bracketright")
    wait_for(lambda: shows(window, red[part], PANEL, 120))
    window.press("m")
    wait_for(lambda: differs_from(picture) < 10)
    assert differs_from(red) > 20
    window.press("h")
    wait_for(lambda: (window.picture()[PANEL:, 200:400].max(axis=2) < 80).mean() > 0.3)
    window.press("q")
    window.end()


def test_s_and_a_save_what_the_command_writes(start: Start, photos: Path, tmp_path: Path) -> None:
    window = start()
    for key in ("minus", "minus", "bracketleft", "s"):
        window.press(key)
    out, same = tmp_path / "out", tmp_path / "same"
    wait_for(lambda: (out / "a.png").exists())
    command = [Path(sys.executable).with_name("cae-run"), photos, "-o", same, "-m", HALF_RED, "--provider", "cpu",
               "--strength", "0.8", "--color-strength", "0.7"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    assert (out / "a.png").read_bytes() == (same / "a.png").read_bytes()
    assert len(list(out.iterdir())) == 1
    window.press("plus")
    window.press("s")  # what was written here is replaced
    wait_for(lambda: (out / "a.png").read_bytes() != (same / "a.png").read_bytes())
    window.press("minus")
    (out / "c.png").write_bytes(b"mine")
    window.press("a")
    wait_for(lambda: (out / "b.png").exists() and (out / "a.png").read_bytes() == (same / "a.png").read_bytes())
    window.press("q")
    told = window.end()
    assert (out / "c.png").read_bytes() == b"mine"
    assert f"skipped: {out / 'c.png'} exists (--overwrite replaces it)" in told
    assert "saved 2 of 3 pictures" in told
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png", "c.png"}


def test_an_unreadable_picture_is_reported_and_the_others_are_shown(start: Start, photos: Path) -> None:
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:2000])
    window = start(photos)
    window.press("Right")
    wait_for(lambda: (window.picture()[200:] == 24).all())
    window.press("s")  # there is no -o
    window.press("Right")
    wait_for(lambda: is_cleaned(window.picture()[PANEL:380])[330:500].all())
    window.press("alt+F4")
    told = window.end(1)
    assert f"{str(photos / 'b.png')!r} " in told
    assert "nothing can be saved" not in told, "it is said in the window"


def test_ctrl_c_ends_with_130(start: Start) -> None:
    window = start()
    window.process.send_signal(signal.SIGINT)
    assert "interrupted" in window.end(130)


def test_f_switches_to_full_screen(start: Start, photos: Path) -> None:
    window = start(photos / "b.png")
    wait_for(lambda: window.geometry()[2] > 640)
    assert window.geometry()[2] <= 1280
    window.press("f")
    wait_for(lambda: window.geometry()[2:] == SCREEN)
    small = made_smaller(half_red(photos / "b.png").astype(np.uint8), (1000, 667))
    wait_for(lambda: shows(window, small[300:600, 520:], 317, 520))
    time.sleep(0.2)
    window.press("q")
    window.end()


def test_without_a_display_there_is_an_error(tmp_path: Path, photos: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "cae_runtime", "--view", photos, "-m", HALF_RED]
    done = subprocess.run(
        [str(part) for part in command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "no window can be opened here" in done.stderr
    assert done.stdout == ""
