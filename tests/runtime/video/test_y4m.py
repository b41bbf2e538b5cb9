"""yuv4mpeg streams through `cae-run - -o -`, between two ffmpeg processes if it is installed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.conftest import COMMAND

from cae_runtime.errors import VideoError
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video import y4m

Command = Callable[..., subprocess.CompletedProcess[bytes]]
LAYOUTS = [
    "420jpeg",
    "420mpeg2",
    "420paldv",
    "420",
    "422",
    "444",
    "411",
    "mono",
    "420p10",
    "422p12",
    "444p16",
    "mono10",
]


def stream_of(layout: str, size: tuple[int, int] = (61, 45), frames: int = 3, more: str = "") -> bytes:
    """A stream of random frames."""
    random = np.random.default_rng(1)
    width, height = size
    head = f"YUV4MPEG2 W{width} H{height} F30000:1001 Ip A1:1 C{layout}{more}\n".encode()
    header = y4m.read_header(io.BytesIO(head))
    dtype = "u1" if header.bits == 8 else "<u2"
    data = [head]
    for number in range(frames):
        data.append(b"FRAME Ip\n" if number == 1 else b"FRAME\n")
        data += [random.integers(0, 2**header.bits, shape).astype(dtype).tobytes() for shape in header.shapes]
    return b"".join(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unchanged_pixels_stay_exactly_the_same(cae_run: Command, layout: str) -> None:
    data = stream_of(layout)
    for words in ((), ("--strength", "0")):  # with the model that changes nothing
        done = cae_run("-", "-o", "-", "--no-temporal", *words, stdin=data)
        assert done.returncode == 0, done.stderr
        assert done.stdout == data
    assert b"cleaned 3 frames of 61x45 pixels" in done.stderr


@pytest.mark.parametrize(("layout", "more"), [(name, more) for name in LAYOUTS for more in ("", " XCOLORRANGE=FULL")])
def test_colors_are_converted_with_the_right_matrix_and_range(layout: str, more: str) -> None:
    head = f"YUV4MPEG2 W20 H10 C{layout}{more}\n".encode()
    header = y4m.read_header(io.BytesIO(head))
    unit = 2 ** (header.bits - 8)
    black, white = (0, 2**header.bits - 1) if header.full else (16 * unit, 235 * unit)
    for level, expected in ((black, 0), (white, header.white)):
        planes = [np.full(header.shapes[0], level, np.uint16)]
        planes += [np.full(shape, 128 * unit, np.uint16) for shape in header.shapes[1:]]
        assert (y4m.to_bgr(planes, header) == expected).all()


def test_changes_go_to_the_right_planes() -> None:
    header = y4m.read_header(io.BytesIO(b"YUV4MPEG2 W32 H32 C420jpeg\n"))
    planes = [np.full(shape, 120, np.uint8) for shape in header.shapes]
    before = y4m.to_bgr(planes, header)
    redder = before.copy()
    redder[..., 2] += 40
    made = y4m.changed(planes, header, before, redder)
    assert (np.abs(y4m.to_bgr(made, header).astype(int) - redder) <= 2).all()
    assert made[2].mean() > 120 > made[1].mean()


@pytest.mark.parametrize(("data", "told"), [
    (b"YUV4MPEG2 W4", "cut off in its first line"),
    (b"YUV4MPEG2 H4 C444\n", "its first line gives no width and height"),
    (b"YUV4MPEG2 W1_6 H+4 C444\n", "its first line gives no width and height"),
    (b"YUV4MPEG2 W0 H4 C444\n", "has 0x4 pixels"),
    (b"YUV4MPEG2 W99999 H99999 C444\n", "has 99999x99999 pixels"),
    (b"YUV4MPEG2 W4 H4 C444alpha\n", "layout '444alpha': 420, 422, 444, 411 and mono of 8 to 16 bits are read"),
    (stream_of("444")[:-1], "ends within frame 3 (2 frames before that were cleaned)"),
    (stream_of("444", frames=1) + b"FRAM", "is damaged before frame 2 (1 frame before that was cleaned)"),
])  # fmt: skip
def test_a_damaged_stream_is_a_one_line_error(cae_run: Command, data: bytes, told: str) -> None:
    done = cae_run("-", "-o", "-", "--no-temporal", stdin=data)
    assert done.returncode == 1
    assert told in done.stderr.decode().splitlines()[-1]
    frames = int(number.group()) if (number := re.search(r"[12](?= frames? before)", told)) else 0
    assert done.stdout == (stream_of("444", frames=frames) if frames else b"")  # whole frames alone


def test_interlaced_frames_give_a_note(cae_run: Command) -> None:
    data = stream_of("420")
    for word, told in ((b"Ip", False), (b"It", True), (b"I?", False)):
        done = cae_run("-", "-o", "-", stdin=data.replace(b"Ip", word, 1))
        assert done.returncode == 0
        assert (b"its frames are interlaced" in done.stderr) == told


def test_single_frames_of_a_stream_are_not_stretched(monkeypatch: pytest.MonkeyPatch, cae_run: Command) -> None:
    seen: list[bool] = []
    before = Restorer.__call__
    monkeypatch.setattr(Restorer, "__call__", lambda self, image: (seen.append(self._stretch), before(self, image))[1])
    assert cae_run("-", "-o", "-", stdin=stream_of("444p16", frames=2)).returncode == 0
    assert seen == [False] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to the process")
@pytest.mark.parametrize("how", ["signal", "closed"])
def test_the_command_can_be_ended_while_its_input_is_silent(fixture_model: Callable[[str], Path], how: str) -> None:
    head, *frames = stream_of("420").split(b"FRAME")
    pipe = subprocess.PIPE
    command = [COMMAND, "-", "-o", "-", "-m", str(fixture_model("identity"))]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(head + b"FRAME" + frames[0])
        process.stdin.flush()
        assert process.stdout.readline() == head
        if how == "signal":
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 143
        else:
            process.stdout.close()
            process.stdin.write(b"FRAME" + frames[1])
            process.stdin.flush()
            assert process.wait(timeout=60) == 1
            assert b"output '-' cannot be written to: Broken pipe\n" in process.stderr.read()


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    stream = io.BytesIO(data)
    with contextlib.suppress(VideoError):
        header = y4m.read_header(stream, y4m.MAGIC)
        list(y4m.read_frames(stream, header))


def test_a_stream_can_only_go_to_stdout(cae_run: Command, tmp_path: Path) -> None:
    for words in (("-o", tmp_path / "a.png"), ("-o", "-", "--ext", "png")):
        done = cae_run("-", *words, stdin=stream_of("420"))
        assert done.returncode == 2
        assert "stdin is a yuv4mpeg stream: it goes to stdout, and becomes no image" in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="apt-get install ffmpeg")
@pytest.mark.parametrize("layout", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "yuv420p10le"])
def test_it_works_between_two_ffmpeg_processes(
    fixture_model: Callable[[str], Path], tmp_path: Path, layout: str
) -> None:
    run = f"{shlex.quote(str(Path(sys.executable).with_name('cae-run')))} - -o - --no-temporal --no-stretch"
    run += f" -m {shlex.quote(str(fixture_model('half_red')))}"
    film = "-f lavfi -i color=0xc89664:size=64x48:rate=10:duration=1"
    shell = (f"ffmpeg -loglevel error {film} -pix_fmt {layout} -strict -1 -f yuv4mpegpipe - | {run} | "
             f"ffmpeg -loglevel error -i - -pix_fmt rgb24 {shlex.quote(str(tmp_path))}/%d.png")  # fmt: skip
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cleaned 10 frames of 64x48 pixels" in done.stderr
    from PIL import Image

    assert len(list(tmp_path.iterdir())) == 10
    color = np.asarray(Image.open(tmp_path / "10.png")).reshape(-1, 3).mean(axis=0)
    if layout == "gray":
        assert np.ptp(color) <= 1
    else:
        np.testing.assert_allclose(color, (100, 150, 100), atol=3)
