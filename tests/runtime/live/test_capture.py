"""The newest frame of a camera, whatever the camera does; simulated cameras."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cae_runtime.errors import DeviceError, UsageError
from cae_runtime.live.camera import Device, Source, as_frame, open_device, parse_source
from cae_runtime.live.capture import Capture, CapturedFrame

pytestmark = pytest.mark.serial

CAMERA = Source("camera 0", 0)
Answer = tuple[bool, Any]


def picture(number: int, size: tuple[int, int] = (40, 30)) -> np.ndarray:
    """A frame that shows its number: a running clock."""
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    frame[0, 0] = number // 65536, number // 256 % 256, number % 256
    return frame


def number_in(frame: np.ndarray) -> int:
    high, middle, low = map(int, frame[0, 0])
    return high * 65536 + middle * 256 + low


def number_of(shot: CapturedFrame) -> int:
    return number_in(shot.image)


class Fake:
    """A camera that answers what an iterator says; then it is gone."""

    def __init__(self, answers: Iterator[Answer]) -> None:
        self._answers, self.given, self.released = answers, 0, False

    def read(self) -> Answer:
        answer = next(self._answers, (False, None))
        self.given += 1
        return answer

    def get(self, _property: int, /) -> float:
        return 60.0

    def release(self) -> None:
        self.released = True


def opening(*devices: Device) -> Callable[[Source], Device]:
    """An opener that gives one device after the other, and then none."""
    left = iter(devices)

    def opener(source: Source) -> Device:
        device = next(left, None)
        if device is None:
            raise DeviceError(f"{source.name} cannot be opened: it is not connected")
        return device

    return opener


def clock(rate: float, count: int | None = None) -> Iterator[Answer]:
    """A camera of so many frames per second; each frame shows its number."""
    began = time.monotonic()
    for number in itertools.count(1) if count is None else range(1, count + 1):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield True, picture(number)


def drained(capture: Capture) -> list[CapturedFrame]:
    shots = []
    while not capture.ended:
        shot = capture.next(0.05)
        if shot:
            shots.append(shot)
    return shots


@pytest.mark.parametrize("model_time", [0.0, 0.06])
def test_the_shown_frame_is_at_most_two_frames_old_however_slow_the_model(model_time: float) -> None:
    device = Fake(clock(60))
    capture = Capture(CAMERA, opener=opening(device))
    try:
        behind = []
        for _ in range(12):
            shot = capture.next(5)
            assert shot is not None
            behind.append(device.given + 1 - number_of(shot))  # the next frame may be on its way
            time.sleep(model_time)
    finally:
        capture.close()
    assert sorted(behind)[-2] <= 2, behind  # once, this process may have waited for its turn
    if model_time:
        assert capture.dropped > 12


def test_every_frame_is_given_once_and_dropped_frames_are_counted() -> None:
    go = threading.Event()

    def answers() -> Iterator[Answer]:
        for number in range(1, 11):
            yield True, picture(number)
        go.wait(10)
        yield True, picture(11)

    capture = Capture(CAMERA, opener=opening(Fake(answers())))
    try:
        while capture.captured < 10:
            time.sleep(0.005)
        first = capture.next(5)
        assert first is not None
        assert (number_of(first), capture.dropped) == (10, 9)
        assert capture.next(0.05) is None, "nothing newer is there yet"
        go.set()
        second = capture.next(5)
        assert second is not None
        assert (number_of(second), capture.dropped, capture.taken) == (11, 9, 2)
    finally:
        capture.close()


def test_a_stalled_camera_is_reported() -> None:
    stuck = threading.Event()

    def answers() -> Iterator[Answer]:
        yield True, picture(1)
        stuck.wait(30)

    capture = Capture(CAMERA, patience=0.2, opener=opening(Fake(answers())))
    try:
        assert capture.next(5) is not None
        with pytest.raises(DeviceError, match=r"camera 0 gave no frame for 0\.2 s"):
            capture.next(10)
    finally:
        stuck.set()
        capture.close()


def test_a_stalled_camera_is_reopened_with_reconnect() -> None:
    stuck = threading.Event()
    told: list[str] = []

    def answers() -> Iterator[Answer]:
        yield True, picture(1)
        stuck.wait(30)
        yield True, picture(999)  # late: nobody listens any more

    capture = Capture(
        CAMERA, reconnect=True, patience=0.2, tell=told.append, opener=opening(Fake(answers()), Fake(clock(100)))
    )
    try:
        first = capture.next(5)
        assert first is not None
        assert number_of(first) == 1
        again = capture.next(10)
        assert again is not None
        stuck.set()
        for _ in range(5):
            shot = capture.next(5)
            assert shot is not None
            assert number_of(shot) < 999
        assert told == ["camera 0 gave no frame for 0.2 s: connecting again"]
    finally:
        capture.close()


def test_a_camera_unplugged_after_50_frames_is_reported() -> None:
    device = Fake((True, picture(number)) for number in range(1, 51))
    capture = Capture(CAMERA, opener=opening(device))
    with pytest.raises(DeviceError, match="camera 0 stopped giving frames"):
        drained(capture)
    assert capture.captured == 50
    assert device.released
    capture.close()


def test_a_dropped_stream_is_reconnected_after_growing_pauses() -> None:
    told: list[str] = []
    devices = [Fake(clock(200, 5)), None, None, Fake(clock(200))]
    left = iter(devices)

    def opener(source: Source) -> Device:
        device = next(left)
        if device is None:
            raise DeviceError(f"{source.name} cannot be opened: it does not answer")
        return device

    capture = Capture(Source("rtsp://host", "rtsp://host"), reconnect=True, pause=0.05, tell=told.append, opener=opener)
    try:
        while capture.captured < 8:
            capture.next(1)
        assert [line.rpartition(" in ")[2] for line in told] == ["0.05 s", "0.1 s", "0.2 s"]
        assert "stopped giving frames" in told[0]
        assert "does not answer" in told[1]
    finally:
        capture.close()


def test_an_address_that_refuses_slowly_is_retried_less_and_less_often() -> None:
    opened: list[float] = []

    def opener(source: Source) -> Device:
        opened.append(time.monotonic())
        if len(opened) == 1:
            return Fake(clock(200, 3))
        time.sleep(0.15)
        raise DeviceError(f"{source.name} cannot be opened: it does not answer")

    told: list[str] = []
    capture = Capture(CAMERA, reconnect=True, patience=0.05, pause=0.1, tell=told.append, opener=opener)
    try:
        until = time.monotonic() + 10
        while len(told) < 4 and time.monotonic() < until:
            capture.next(0.05)
        assert [line.rpartition(" in ")[2] for line in told] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
    finally:
        capture.close()


def test_any_exception_of_a_driver_is_a_one_line_error() -> None:
    class Broken(Fake):
        def read(self) -> Answer:
            raise MemoryError

    capture = Capture(CAMERA, opener=opening(Broken(iter(()))))
    with pytest.raises(DeviceError, match="camera 0 failed: MemoryError"):
        capture.next(10)
    capture.close()


def test_a_camera_that_changes_its_size_continues() -> None:
    sizes = [(40, 30), (40, 30), (64, 48)]
    go = [threading.Event() for _ in sizes]

    def answers() -> Iterator[Answer]:
        for size, turn in zip(sizes, go, strict=True):
            turn.wait(10)
            yield True, picture(1, size)

    capture = Capture(CAMERA, opener=opening(Fake(answers())))
    for size, turn in zip(sizes, go, strict=True):
        turn.set()
        shot = capture.next(5)
        assert shot is not None
        assert shot.image.shape == (size[1], size[0], 3)
    capture.close()


def test_single_invalid_frames_are_skipped() -> None:
    garbage = [None, np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), "?"]
    answers = [(True, picture(1)), *((True, each) for each in garbage), (False, None), (True, picture(2))]
    capture = Capture(CAMERA, opener=opening(Fake(iter(answers))))
    with pytest.raises(DeviceError, match="stopped giving"):
        drained(capture)
    assert capture.captured == 2
    capture.close()


def test_a_camera_that_gives_only_invalid_frames_is_reported() -> None:
    class Raising(Fake):
        def read(self) -> Answer:
            raise cv2.error("corrupt")

    for device in (Raising(iter(())), Fake(itertools.repeat((True, None)))):
        capture = Capture(CAMERA, opener=opening(device))
        with pytest.raises(DeviceError, match="camera 0 gives no pictures"):
            capture.next(10)
        capture.close()


def test_a_missing_camera_is_reported_at_once() -> None:
    capture = Capture(CAMERA, opener=opening())
    with pytest.raises(DeviceError, match="camera 0 cannot be opened: it is not connected"):
        capture.next(10)
    capture.close()


def test_gray_and_alpha_frames_become_color() -> None:
    gray = np.full((3, 4), 7, np.uint8)
    for given in (gray, gray[..., None], np.full((3, 4, 4), 7, np.uint8)):
        frame = as_frame(given)
        assert frame is not None
        assert frame.shape == (3, 4, 3)
        assert (frame == 7).all()


def test_a_file_plays_like_a_camera_and_ends(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", frames=12, rate=60)
    capture = Capture(parse_source(str(path)))
    shots = drained(capture)
    capture.close()
    assert capture.captured == 12
    assert capture.rate == 60
    assert shots[-1].number == 12
    gaps = np.diff([shot.time for shot in shots])
    assert gaps.sum() >= 9 / 60, "it is not rushed through"


def test_no_frame_of_a_file_is_lost_while_the_model_opens(tmp_path: Path) -> None:
    capture = Capture(parse_source(str(clip(tmp_path / "clip.avi", frames=5, rate=100))))
    first = capture.next(5)
    assert first is not None
    time.sleep(0.1)  # a model that is being opened: the time of ten frames
    positions = [first.position, *(shot.position for shot in drained(capture))]
    capture.close()
    assert positions[:2] == pytest.approx([0, 0.01])
    assert capture.captured == 5


@pytest.mark.parametrize(
    ("system", "backends"),
    [
        ("Linux", [cv2.CAP_V4L2]),
        ("Windows", [cv2.CAP_MSMF, cv2.CAP_DSHOW]),
        ("Darwin", [cv2.CAP_AVFOUNDATION]),
        ("FreeBSD", [cv2.CAP_ANY]),
    ],
)
def test_cameras_are_opened_with_the_interface_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, backends: list[int]
) -> None:
    tried: list[tuple[int | str, int]] = []

    class Device:
        def open(self, target: int | str, backend: int) -> bool:
            tried.append((target, backend))
            return False

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return False

        def release(self) -> None:
            pass

    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(cv2, "VideoCapture", Device)
    with pytest.raises(DeviceError, match="camera 1 cannot be opened"):
        open_device(Source("camera 1", 1))
    assert tried == [(1, backend) for backend in backends]


def test_a_file_that_is_not_a_video_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    capture = Capture(parse_source(str(path)))
    with pytest.raises(DeviceError, match=r"notes.mp4' cannot be opened: it is not a video"):
        capture.next(10)
    capture.close()


def clip(path: Path, frames: int, rate: float, size: tuple[int, int] = (64, 48)) -> Path:
    """A video of smooth colors that change slowly."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
    assert writer.isOpened()
    for number in range(frames):
        ramp = np.linspace(0, 200, size[0], dtype=np.uint8) + np.uint8(number % 50)
        writer.write(np.repeat(np.repeat(ramp[None, :, None], size[1], 0), 3, 2))
    writer.release()
    return path


@pytest.mark.parametrize("text", ["-1", "", "nothing-here.mp4", "ftp://host/x", "12345", "rtsp://", "٣"])
def test_a_camera_name_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="camera is"):
        parse_source(text)


def test_cameras_files_and_addresses_are_told_apart(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.avi", 1, 10)
    assert parse_source("2", (640, 480), 30.0) == Source("camera 2", 2, size=(640, 480), fps=30.0)
    assert parse_source(str(path)).is_file
    stream = parse_source("rtsp://user:secret@host/stream")
    assert (stream.target, stream.name) == ("rtsp://user:secret@host/stream", "rtsp://host/stream")
    signed = parse_source("http://host/stream?token=secret&size=1")
    assert (signed.target, signed.name) == (
        "http://host/stream?token=secret&size=1",
        "http://host/stream?token=***&size=***",
    )
    with pytest.raises(UsageError) as told:
        parse_source("rtsp://user:sec@ret@host/stream", fps=30)
    assert "ret" not in str(told.value).replace("stream", "")
    assert parse_source("/dev/video9") == Source("camera /dev/video9", "/dev/video9")
    for name, why in ((str(tmp_path), "it is a folder"), ("nothing.mp4", "there is no such file")):
        with pytest.raises(UsageError, match=why):
            parse_source(name)
    for text in (str(path), "http://host/stream"):
        with pytest.raises(UsageError, match="has its own size and frame rate"):
            parse_source(text, (640, 480))


@pytest.mark.slow
def test_a_file_may_take_its_time_to_deliver_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cae_runtime.live.capture._FIRST_PATIENCE", 0.0)
    ready = threading.Event()

    def slow(_source: Source) -> Device:
        ready.wait()
        return Fake(clock(1))

    capture = Capture(Source("clip.mp4", "clip.mp4", is_file=True), patience=0.0, opener=slow)
    try:
        assert capture.next(0.05) is None
        ready.set()
        assert capture.next(60) is not None
    finally:
        ready.set()
        capture.close()
