"""Live cleaning without a window, by the whole command; a video file plays the camera."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.live.test_capture import Fake, clip, clock, number_in, opening, picture
from typer.testing import CliRunner

import cae_runtime.live.run
from cae_runtime.cli.main import app
from cae_runtime.errors import DeviceError, ImageError, UsageError
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture
from cae_runtime.live.recorder import Recorder
from cae_runtime.live.run import run_live
from cae_runtime.live.settings import LiveSettings
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strength_blending import blended
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.video.frame_cleaner import FrameCleaner

pytestmark = pytest.mark.serial

IDENTITY = Path(__file__).parents[1] / "fixtures" / "identity.onnx"


def live(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["--webcam", "--no-window", *map(str, arguments)])


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clip(tmp_path / "clip.avi", frames=30, rate=30)


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1])
    capture.release()
    return found


def test_a_file_plays_to_its_end_and_the_figures_are_reported(video: Path) -> None:
    done = live("--camera", video, "-m", IDENTITY, "--json")
    assert done.exit_code == 0, done.output
    seconds, end = lines(done.stdout)[:-1], lines(done.stdout)[-1]
    assert all(line["event"] == "second" for line in seconds)
    assert end["event"] == "end"
    assert end["frames"] + end["dropped"] == 30
    assert end["frames"] > 0
    assert end["provider"] == "CPUExecutionProvider"
    assert 0 < end["ms_p50"] <= end["ms_p95"]
    assert f"{str(video)!r}: 64x48, 30 frames per second" in done.stderr


@pytest.mark.parametrize("option", [("--frames", "5"), ("--seconds", "0.3")])
def test_a_live_run_ends_after_the_given_frames_or_seconds(video: Path, option: tuple[str, str]) -> None:
    done = live("--camera", video, "-m", IDENTITY, "--json", *option)
    end = lines(done.stdout)[-1]
    assert done.exit_code == 0
    assert end["frames"] == 5 if option[0] == "--frames" else 1 <= end["frames"] < 25


def test_a_recording_is_as_long_as_the_run(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.mp4"
    done = live("--camera", video, "-m", IDENTITY, "-o", out)
    assert done.exit_code == 0, done.output
    recorded = frames_of(out)
    assert 15 <= len(recorded) <= 32
    assert np.abs(recorded[0].astype(int) - frames_of(video)[0]).mean() < 12
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.mp4"]
    again = live("--camera", video, "-m", IDENTITY, "-o", out)
    assert again.exit_code == 2
    assert "exists already: name another file, or pass --overwrite" in again.stderr
    assert live("--camera", video, "-m", IDENTITY, "-o", out, "--overwrite", "--frames", "3").exit_code == 0
    assert len(frames_of(out)) < 15
    itself = live("--camera", out, "-m", IDENTITY, "-o", out, "--overwrite")
    assert itself.exit_code == 2
    assert "is the source" in itself.stderr


INTERRUPTED = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from cae_runtime.cli.main import main
from cae_runtime.live.recorder import Recorder
write = Recorder.write
def interrupted(self, frame, time):
    write(self, frame, time)
    if self.frames > 4:
        os.kill(os.getpid(), signal.SIGINT)
Recorder.write = interrupted
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_a_playable_recording(video: Path, tmp_path: Path) -> None:
    words = ["--webcam", "--no-window", "--camera", str(video), "-m", str(IDENTITY), "-o", str(tmp_path / "out.mp4")]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert len(frames_of(tmp_path / "out.mp4")) > 2
    assert not list(tmp_path.glob("*.partial.*")) + list(tmp_path.glob(".*.partial.*"))


def settings(**changes: Any) -> LiveSettings:
    given: dict[str, Any] = {
        "source": Source("camera 0", 0), "model": str(IDENTITY), "open_model": lambda name: Restorer(name, threads=1),
        "window": False, "seconds": 60.0, "temporal": False,
    }  # fmt: skip
    return LiveSettings(**(given | changes))


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(answers: Iterator[tuple[bool, Any]]) -> None:
        def capture(source: Source, **options: Any) -> Capture:
            return Capture(source, opener=opening(Fake(answers)), **options)

        monkeypatch.setattr(cae_runtime.live.run, "Capture", capture)

    return use


def test_a_camera_that_changes_its_size_is_reported_and_still_recorded(camera: Any, tmp_path: Path) -> None:
    def answers() -> Iterator[tuple[bool, Any]]:
        for number in range(20):
            time.sleep(0.02)
            yield True, picture(number, (64, 48) if number < 10 else (96, 64))

    told: list[str] = []
    camera(answers())
    with pytest.raises(DeviceError, match="stopped giving frames"):
        run_live(settings(record=tmp_path / "out.mp4", temporal=True), told.append)
    assert "camera 0 now gives 96x64" in told
    assert all(frame.shape == (48, 64, 3) for frame in frames_of(tmp_path / "out.mp4"))


def test_a_slow_model_is_replaced_by_a_faster_one_with_a_message(camera: Any) -> None:
    def answers() -> Iterator[tuple[bool, Any]]:
        while True:
            time.sleep(0.005)
            yield True, picture(1)

    class Slow:
        remarks, provider = ("provider: a test",), "CPUExecutionProvider"

        def __init__(self, name: str) -> None:
            self.seconds = {"denoise": 0.05, "denoise-int8": 0.03, "denoise-fast-int8": 0.0}[name]

        def __call__(self, image: np.ndarray) -> np.ndarray:
            time.sleep(self.seconds)
            return image

    told: list[str] = []
    camera(answers())
    figures: list[dict[str, Any]] = []
    run_live(settings(model="denoise", open_model=Slow, target_fps=50, frames=60), told.append, figures.append)
    assert [line for line in told if "now with" in line] == [
        "now with denoise-int8: denoise is too slow for 50 frames per second",
        "now with denoise-fast-int8: denoise-int8 is too slow for 50 frames per second",
    ]
    assert (figures[-1]["frames"], figures[-1]["model"]) == (60, "denoise-fast-int8")


@pytest.mark.parametrize(
    ("seconds", "target", "told"),
    [
        ((0.0, 0.0, 0.0), None, "model: denoise, the best packaged one that makes 60 frames per second here"),
        ((0.2, 0.02, 0.02), None, "model: denoise-int8, the best packaged one that makes 15 frames per second here"),
        pytest.param((0.2, 0.2, 0.1), 30, "30 frames per second are not reached: about ", marks=pytest.mark.slow),
    ],
)
def test_without_a_named_model_the_best_that_is_fast_enough_is_used(
    camera: Any, seconds: tuple[float, ...], target: float | None, told: str
) -> None:
    class Model:
        remarks, provider = (), "CPUExecutionProvider"

        def __init__(self, name: str) -> None:
            self.seconds = dict(zip(("denoise", "denoise-int8", "denoise-fast-int8"), seconds, strict=True))[name]

        def __call__(self, image: np.ndarray) -> np.ndarray:
            time.sleep(self.seconds)
            return image

    lines_told: list[str] = []
    camera(clock(60))  # which says so
    frames = 1 if target is None else 12
    given = {"model": "denoise", "open_model": Model, "target_fps": target, "frames": frames}
    run_live(settings(adapts=True, **given), lines_told.append)
    assert any(line.startswith(told) for line in lines_told), lines_told
    lines_told.clear()
    camera(clock(60))
    run_live(settings(**given | {"target_fps": None}), lines_told.append)
    assert ", with denoise; " in lines_told[-1], "-m pins"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell")
def test_memory_does_not_grow(camera: Any) -> None:
    def answers() -> Iterator[tuple[bool, Any]]:
        frame = np.zeros((160, 200, 3), np.uint8)
        while True:
            yield True, frame.copy()
            time.sleep(0)

    def resident_after(frames: int) -> int:
        camera(answers())
        run_live(settings(frames=frames, seconds=None), lambda _: None, lambda _: None)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident_after(50)
    assert resident_after(350) - before < 12 * 2**20  # 300 frames are 29 MB


@pytest.mark.parametrize("model_time", [0.0, 0.05])
def test_the_output_shows_the_newest_time_of_a_clock(
    camera: Any, monkeypatch: pytest.MonkeyPatch, model_time: float
) -> None:
    """A camera that shows a running clock at 60 frames per second: never older than one model time and two frames."""
    device = Fake(clock(60))
    monkeypatch.setattr(cae_runtime.live.run, "Capture", lambda source, **_: Capture(source, opener=opening(device)))
    behind: list[int] = []

    class Outlet:
        name = "an outlet"

        def __init__(self, *_: object) -> None:
            self.shots = 0

        def send(self, frame: np.ndarray) -> None:
            behind.append(device.given - number_in(frame))

        def close(self) -> None:
            pass

    class Model:
        remarks, provider = ("provider: a test",), "CPUExecutionProvider"
        given_before = 0

        def __call__(self, image: np.ndarray) -> np.ndarray:
            before = device.given
            time.sleep(model_time)
            Model.given_before = device.given - before  # frames that came while the model ran
            return image

    monkeypatch.setattr(cae_runtime.live.run, "VirtualCamera", Outlet)
    run_live(settings(open_model=lambda _: Model(), virtual_camera=True, frames=12), lambda _: None)
    allowed = round(60 * model_time) + 2
    assert sorted(behind)[len(behind) // 2] <= allowed, behind
    assert min(behind) >= -1


def test_strength_blends_with_the_current_frame_even_after_averaging(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    cleaner = FrameCleaner(temporal=True)
    restorer = Restorer(IDENTITY, threads=1)
    cleaner(restorer, frame)
    cleaned = cleaner(restorer, other)
    np.testing.assert_array_equal(blended(other, cleaned, Strengths(0, 0)), other)
    np.testing.assert_array_equal(blended(other, cleaned, Strengths(1, 1)), cleaned)
    half = blended(other, cleaned, Strengths(0.5, 0.5)).astype(float)
    assert np.abs(half - (other.astype(float) + cleaned) / 2).max() <= 0.5


def test_a_list_of_files_is_refused_as_a_camera(tmp_path: Path, video: Path) -> None:
    trick = tmp_path / "trick.mp4"
    trick.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    done = live("--camera", trick, "-m", IDENTITY, "--json")
    assert done.exit_code == 3
    assert "it is not a video" in done.stderr


@pytest.mark.parametrize("reconnect", [False, True])
def test_a_camera_that_never_gives_a_frame_is_an_error_after_a_while(camera: Any, reconnect: bool) -> None:
    over = threading.Event()

    def answers() -> Iterator[tuple[bool, Any]]:
        over.wait(30)
        yield False, None

    camera(answers())
    with pytest.raises(DeviceError, match="camera 0 gave no frame in time"):
        run_live(settings(seconds=0.1, reconnect=reconnect), lambda _: None)
    over.set()


def test_the_end_of_a_file_is_reported(video: Path) -> None:
    done = live("--camera", video, "-m", IDENTITY, "--json")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{str(video)!r}: cleaned ")
    assert lines(done.stdout)[-1]["model"] == str(IDENTITY)


def test_a_full_disk_is_reported_and_leaves_no_file(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    limited = f"ulimit -f 1; trap '' XFSZ; exec {sys.executable} -m cae_runtime --webcam --no-window"
    command = ["bash", "-c", f"{limited} --camera {video} -m {IDENTITY} -o {folder}/a.mp4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "could not be written completely" in done.stderr
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--camera", "no.mp4"], 2, "--camera is 'no.mp4'"),
        (["--camera", "9999", "--json"], 3, "camera 9999 cannot be opened"),
        (["--size", "big"], 2, "--size is 'big'"),
        (["--size", "0x5"], 2, "--size is '0x5'"),
        (["photos", "--camera", "0"], 2, "--webcam and --camera take no SOURCE"),
        (["--suffix", "_x"], 2, "--webcam takes no --suffix"),
        (["-o", "out.txt"], 2, "the name must end in .mp4"),
        (["--doctor"], 2, "give only one of --doctor and --webcam"),
        (["--fps", "0"], 2, "--fps is 0.0"),
        (["--strength", "2"], 2, "--strength is 2.0"),
    ],
)
def test_unsuitable_live_options_are_a_one_line_error(arguments: list[str], code: int, text: str) -> None:
    done = live(*arguments)
    assert done.exit_code == code, done.output
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_live_option_without_webcam_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["assets", "-o", str(tmp_path), "--compare"])
    assert done.exit_code == 2
    assert "--compare needs a camera: add --webcam for the first one, or --camera" in done.stderr


def test_a_run_without_a_window_needs_an_output(video: Path) -> None:
    done = live("--camera", video, "-m", IDENTITY)
    assert done.exit_code == 2
    assert "a run without a window needs -o FILE" in done.stderr


class TestVirtualCamera:
    """Through a stand-in for pyvirtualcam: no test machine has the device."""

    def use(self, monkeypatch: pytest.MonkeyPatch, camera: Any) -> None:
        import types

        module = types.ModuleType("pyvirtualcam")
        module.Camera = camera  # type: ignore[attr-defined]
        module.PixelFormat = types.SimpleNamespace(BGR="bgr")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pyvirtualcam", module)

    def test_frames_are_sent_to_the_virtual_camera(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[np.ndarray] = []

        class Camera:
            device = "/dev/video9"

            def __init__(self, width: int, height: int, fps: float, fmt: str) -> None:
                assert (width, height, fps, fmt) == (64, 48, 30, "bgr")

            def send(self, frame: np.ndarray) -> None:
                sent.append(frame)

            def close(self) -> None:
                sent.append(np.zeros(0))

        self.use(monkeypatch, Camera)
        done = live("--camera", video, "-m", IDENTITY, "--virtual-camera", "--frames", "4")
        assert done.exit_code == 0, done.output
        assert [frame.shape for frame in sent] == [(48, 64, 3)] * 4 + [(0,)]
        assert "virtual camera: /dev/video9" in done.stderr

    def test_a_missing_virtual_camera_device_is_reported(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*_: object, **__: object) -> None:
            raise RuntimeError("'v4l2loopback' backend: No v4l2 loopback cameras found.\nDid you install it?")

        self.use(monkeypatch, none)
        done = live("--camera", video, "-m", IDENTITY, "--virtual-camera")
        assert done.exit_code == 3
        (line,) = [line for line in done.stderr.splitlines() if "no virtual camera" in line]
        assert "v4l2loopback" in line

    def test_a_missing_extra_is_reported_with_the_install_command(
        self, video: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
        done = live("--camera", video, "-m", IDENTITY, "--virtual-camera")
        assert done.exit_code == 2
        assert "pip install" in done.stderr


def test_the_recorder_repeats_frames_in_gaps(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mp4", 10)
    for moment in (0.0, 0.1, 0.15, 0.5, 1.0):
        recorder.write(picture(1, (64, 48)), 100 + moment)
    assert not (tmp_path / "a.mp4").exists()
    recorder.close()
    recorder.close()
    assert recorder.frames == len(frames_of(tmp_path / "a.mp4")) == 11


def test_a_recorder_that_cannot_write_reports_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        Recorder(tmp_path / "file" / "a.mp4", 10).write(picture(1), 0)
    with pytest.raises(UsageError, match="must end in"):
        Recorder(tmp_path / "a.gif", 10)
    Recorder(tmp_path / "none.mp4", 10).close()
    assert not (tmp_path / "none.mp4").exists()


@pytest.mark.parametrize(
    ("found", "code", "stdout", "stderr"),
    [
        ({0: "Webcam", 2: "A\x1b[2J"}, 0, "0  Webcam\n2  A\\x1b[2J\n", ""),
        ({}, 3, "", "cae-run: the system lists no camera: connect one, or name a device or an address with --camera\n"),
    ],
)
def test_cameras_are_listed(
    found: dict[int, str], code: int, stdout: str, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cae_runtime.cli.live.find_cameras", lambda: found)
    done = CliRunner().invoke(app, ["--list-cameras"])
    assert (done.exit_code, done.stdout, done.stderr) == (code, stdout, stderr)
