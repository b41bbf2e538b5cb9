"""The live window on a real display: real keys, a real mouse, screenshots."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.live.test_capture import clip

PROGRAMS = ("Xvfb", "xdotool", "openbox")
SCREEN = (1000, 700)
HALF_RED = Path(__file__).parents[1] / "fixtures" / "half_red.onnx"
pytestmark = [
    pytest.mark.serial,
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="apt-get install xvfb xdotool openbox"),
]


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)
    return result


@contextlib.contextmanager
def open_display(folder: Path) -> Iterator[tuple[str, Path]]:
    """A screen of its own with a window manager: its name, and the folder where its picture is."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24", "-fbdir", str(folder)]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        name = f":{pipe.readline().strip()}"
    manager = subprocess.Popen(["openbox"], env=os.environ | {"DISPLAY": name}, stderr=subprocess.DEVNULL)
    try:
        yield name, folder
    finally:
        for process in (manager, server):
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with open_display(tmp_path_factory.mktemp("screen")) as opened:
        yield opened


class Session:
    """A running `cae-run` with a window, `--webcam` unless `opens` says otherwise, and what a user does to it."""

    def __init__(
        self, display: tuple[str, Path], folder: Path, *arguments: str | Path, opens: str = "--webcam"
    ) -> None:
        self.environment = os.environ | {"DISPLAY": display[0]}
        self.environment.pop("WAYLAND_DISPLAY", None)
        self.pixels, self.folder = display[1] / "Xvfb_screen0", folder
        start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        command = [
            sys.executable,
            "-c",
            f"{start} from cae_runtime.cli.main import main; main()",
            opens,
            *arguments,
        ]
        self.process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        self.window = wait_for(self._find)

    def _find(self) -> str:
        assert self.process.poll() is None, self.process.communicate()[1]
        found = self._do("search", "--onlyvisible", "--name", "^CAE Toolkit$")
        return found.split()[-1] if found else ""

    def _do(self, *words: str) -> str:
        return subprocess.run(
            ["xdotool", *words], env=self.environment, capture_output=True, text=True, check=False
        ).stdout.strip()

    def press(self, key: str) -> None:
        self._do("windowfocus", "--sync", self.window)
        self._do("key", key)

    def geometry(self) -> tuple[int, int, int, int]:
        """Where the window's inside is: left, top, width, height. (xdotool counts the frame twice: the mouse knows.)"""
        self._do("mousemove", "--window", self.window, "0", "0")
        place = self._do("getmouselocation", "--shell")
        self._do("mousemove", *map(str, SCREEN))  # out of the picture
        size = self._do("getwindowgeometry", "--shell", self.window)
        found = [re.search(rf"^{name}=(-?\d+)", text, re.M) for name, text in
                 (("X", place), ("Y", place), ("WIDTH", size), ("HEIGHT", size))]  # fmt: skip
        left, top, width, height = (int(each[1]) if each else 0 for each in found)
        return left, top, width, height

    def picture(self) -> np.ndarray:
        """What the window shows, BGR: cut out of the screen, an XWD file of 32 bits a pixel."""
        x, y, width, height = self.geometry()
        data = self.pixels.read_bytes()
        header, line, colors = (int.from_bytes(data[at : at + 4], "big") for at in (0, 48, 76))
        start = header + 12 * colors
        rows = np.frombuffer(data, np.uint8, SCREEN[1] * line, start).reshape(SCREEN[1], line // 4, 4)
        return rows[max(0, y) : y + height, max(0, x) : x + width, :3].copy()

    def wheel(self, at: tuple[int, int], steps: int) -> None:
        self._do("mousemove", *map(str, at))
        for _ in range(abs(steps)):
            self._do("click", "4" if steps > 0 else "5")
            time.sleep(0.15)

    def drag(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        for words in (
            ["mousemove", *map(str, begin)],
            ["mousedown", "1"],
            ["mousemove", *map(str, end)],
            ["mouseup", "1"],
        ):
            self._do(*words)
            time.sleep(0.15)

    def end(self, code: int = 0) -> str:
        told = self.process.communicate(timeout=20)[1]
        assert self.process.returncode == code, told
        assert "Traceback" not in told
        return told


@pytest.fixture
def session(display: tuple[str, Path], tmp_path: Path) -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []
    film = clip(tmp_path / "clip.avi", frames=900, rate=30, size=(320, 240))

    def start(*arguments: str) -> Session:
        opened.append(Session(display, tmp_path, "--camera", film, "-m", HALF_RED, "--no-temporal", *arguments))
        wait_for(lambda: opened[-1].picture().any())
        return opened[-1]

    yield start
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def is_cleaned(picture: np.ndarray) -> np.ndarray:
    """Per column: whether red is half of blue, as the test's model makes it."""
    blue, red = (picture[..., c].astype(int).mean(axis=0) for c in (0, 2))
    return red < 0.75 * blue


def test_the_cleaned_picture_is_shown_and_q_ends(session: Callable[..., Session]) -> None:
    live = session()
    picture = live.picture()
    assert picture.shape == (240, 320, 3)
    assert is_cleaned(picture)[20:].all()
    live.press("q")
    live.end()


def test_c_shows_both_halves_and_the_mouse_drags_the_line(session: Callable[..., Session]) -> None:
    live = session()
    live.press("c")
    wait_for(lambda: not is_cleaned(live.picture())[30:130].any())
    assert is_cleaned(live.picture())[180:].all()
    x, y, _, _ = live.geometry()
    live.drag((x + 160, y + 50), (x + 260, y + 50))
    wait_for(lambda: not is_cleaned(live.picture())[30:240].any())
    assert is_cleaned(live.picture())[280:].all()
    live.press("c")
    wait_for(lambda: is_cleaned(live.picture())[30:].all())
    live.press("Escape")
    live.end()


def test_compare_shows_both_halves_from_the_start(session: Callable[..., Session]) -> None:
    live = session("--compare")
    columns = is_cleaned(live.picture())
    assert not columns[30:130].any()
    assert columns[180:].all()


def test_i_and_h_toggle_figures_and_help(session: Callable[..., Session]) -> None:
    live = session()

    def dark() -> int:
        return int((live.picture()[:, 100:].max(axis=2) < 15).sum())

    before = dark()
    for key in ("i", "h"):
        live.press(key)
        wait_for(lambda: dark() > before + 50)
        live.press(key)
        wait_for(lambda: dark() <= before + 20)


def test_space_freezes_the_picture(session: Callable[..., Session]) -> None:
    live = session()
    live.press("space")
    time.sleep(0.3)
    first = live.picture()
    time.sleep(0.4)
    np.testing.assert_array_equal(live.picture(), first)
    live.press("c")
    wait_for(lambda: not is_cleaned(live.picture())[40:110].any())  # a frozen picture can be compared
    live.press("c")
    live.press("space")
    wait_for(lambda: (live.picture()[:100] != first[:100]).any())


def test_plus_and_minus_change_the_strength(session: Callable[..., Session]) -> None:
    live = session()
    for _ in range(10):
        live.press("minus")
    wait_for(lambda: not is_cleaned(live.picture()[:150])[40:].any())
    for _ in range(10):
        live.press("plus")
    wait_for(lambda: is_cleaned(live.picture()[:150])[40:].all())


def test_s_saves_both_pictures(session: Callable[..., Session], tmp_path: Path) -> None:
    live = session()
    live.press("s")
    paths = wait_for(lambda: len(found := sorted(tmp_path.glob("snapshot-*.png"))) == 2 and found)
    cleaned, original = (cv2.imread(str(path)) for path in paths)
    assert cleaned is not None
    assert original is not None
    np.testing.assert_allclose(cleaned[..., 2], original[..., 2] / 2, atol=0.51)
    np.testing.assert_array_equal(cleaned[..., :2], original[..., :2])
    live.press("q")
    assert "saved snapshot-" in live.end()


def test_r_records_and_stops(session: Callable[..., Session], tmp_path: Path) -> None:
    live = session()
    live.press("r")
    wait_for(lambda: list(tmp_path.glob(".*.partial.mp4")))
    time.sleep(0.5)
    live.press("r")
    (path,) = wait_for(lambda: list(tmp_path.glob("recording-*.mp4")))
    reader = cv2.VideoCapture(str(path))
    count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    there, frame = reader.read()
    reader.release()
    assert there
    assert count > 2
    assert is_cleaned(np.asarray(frame))[30:].all()
    live.press("q")
    assert f"recorded {count} frames -> {path.name}" in live.end()


def test_unassigned_keys_do_nothing(session: Callable[..., Session], tmp_path: Path) -> None:
    live = session()
    for key in ("Left", "Up", "Right", "Down", "Insert", "F5", "x", "Shift_L"):  # their codes hold those of letters
        live.press(key)
        time.sleep(0.1)
    assert live.process.poll() is None
    assert is_cleaned(live.picture())[20:].all()
    live.press("KP_Subtract")
    live.press("q")
    live.end()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi"]


def test_a_frozen_picture_follows_the_strength(session: Callable[..., Session]) -> None:
    live = session()
    live.press("space")
    for _ in range(10):
        live.press("minus")
    wait_for(lambda: not is_cleaned(live.picture()[:150])[40:].any())


def test_f_fills_the_screen_and_returns(session: Callable[..., Session]) -> None:
    live = session()
    live.press("f")
    wait_for(lambda: live.geometry()[2:] == SCREEN)
    wait_for(lambda: is_cleaned(live.picture()[:, 300:700])[20:].all())
    live.press("f")
    wait_for(lambda: live.geometry()[2:] == (320, 240))


def test_the_picture_is_redrawn_when_the_window_is_resized(session: Callable[..., Session]) -> None:
    live = session()
    live._do("windowsize", "--sync", live.window, "640", "300")
    wait_for(lambda: live.geometry()[2:] == (640, 300))

    def fits() -> bool:
        picture = live.picture()
        return picture.shape == (300, 640, 3) and not picture[:, :115].any() and bool(picture[:, 300:500].any())

    wait_for(fits)


def test_closing_the_window_ends_the_run(session: Callable[..., Session]) -> None:
    live = session()
    live.press("alt+F4")  # the window manager's key: what its cross does
    live.end()


def test_ctrl_c_ends_with_130(session: Callable[..., Session]) -> None:
    live = session()
    live.process.send_signal(signal.SIGINT)
    assert "interrupted" in live.end(130)


@pytest.mark.parametrize("name", ["", ":87654"])
def test_without_a_display_the_error_says_what_to_do(tmp_path: Path, name: str) -> None:
    film = clip(tmp_path / "clip.avi", frames=5, rate=30)
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "cae_runtime", "--webcam", "--camera", film, "-m", HALF_RED, "--json"]
    done = subprocess.run(
        [str(part) for part in command], env=environment | ({"DISPLAY": name} if name else {}), cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "no window can be opened here" in done.stderr
    assert "pass --no-window" in done.stderr
    assert done.stdout == ""
