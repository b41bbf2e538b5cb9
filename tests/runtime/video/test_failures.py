"""Problems of a video or its surroundings are a one-line error, and finished work is kept."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.runtime.clips import HEIGHT, WIDTH, damage, lines, look_into, make_clip, psnr, same
from tests.runtime.conftest import COMMAND

from cae_runtime.errors import UsageError, VideoError
from cae_runtime.video import reader as video_source
from cae_runtime.video.clean_video import clean_video
from cae_runtime.video.results import VideoInterrupted, VideoPartlyDone

Command = Callable[..., subprocess.CompletedProcess[bytes]]
Pixels = np.ndarray


@pytest.fixture
def without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide PyAV from the processes that are started."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "av.py").write_text("raise ModuleNotFoundError('no av', name='av')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


@pytest.mark.usefixtures("without_pyav")
def test_a_missing_pyav_is_reported_with_the_install_command(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    for source in (clip, clip.parent):
        done = cae_run(source, "-o", tmp_path / "out", installed=True)
        assert done.returncode == 2
        (line,) = lines(done)
        assert line == (
            f"cae-run: {str(clip)!r} is a video, and videos need an extra: pip install 'cae-toolkit[video]' "
            "(in a checkout: pip install -e '.[video]'), which adds PyAV 18 or later (PyAV is not installed)"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_pyav")
def test_images_of_a_folder_are_cleaned_without_pyav(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "b.mp4")
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    done = cae_run(folder, "-o", tmp_path / "out", installed=True)
    assert done.returncode == 1
    assert f"failed: {str(folder / 'b.mp4')!r} is a video, and videos need an extra: pip install" in lines(done)[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(("codec", "which"), [("libx264", 0), ("libx264", 10), ("libx264", 19), ("mpeg4", 12)])
def test_a_damaged_frame_is_replaced_by_the_previous_one(
    cae_run: Command, tmp_path: Path, codec: str, which: int
) -> None:
    options = {"g": "4", "bf": "0"}
    whole = make_clip(tmp_path / "whole.mp4", frames=20, codec=codec, sound="aac", varying=True, options=options)
    broken = damage(whole, tmp_path / "broken.mp4", which)
    done = cae_run(broken, "-o", tmp_path / "out.mp4", "--json")
    assert done.returncode == 0
    before, after = look_into(whole), look_into(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.sound == before.sound
    (file,) = json.loads(done.stdout)["files"]
    assert file["frames"] == 20
    assert 1 <= file["repeated"] <= 4
    verb = "is" if file["repeated"] == 1 else "are"
    told = f"{file['repeated']} of 20 frames {verb} damaged, and the frame before each is shown in its place"
    assert f"note: {file['source']!r}: {told}" in lines(done)
    if which:
        assert psnr(after.frames[which : which + 1], after.frames[which - 1 : which]) > 38


def test_frames_are_cleaned_in_order_and_repeated_ones_only_once(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", frames=20, options={"g": "4", "bf": "0"})
    seen: list[Pixels] = []
    progress: list[tuple[int, int | None]] = []

    def clean(frame: Pixels) -> Pixels:
        seen.append(frame)
        return frame // 2

    cleaned = clean_video(
        damage(whole, tmp_path / "in.mp4", 8), tmp_path / "out.mp4", clean, on_frame=lambda *n: progress.append(n)
    )
    before, after = look_into(whole).frames, look_into(tmp_path / "out.mp4").frames
    assert cleaned.frames == 20
    assert len(seen) == 20 - cleaned.repeated
    assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 for frame in seen)
    assert psnr(seen[:8], before[:8]) > 40
    assert psnr(after[:8], [frame // 2 for frame in before[:8]]) > 35
    assert progress == [(number, 20) for number in range(1, 21)]


def no_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        piece = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        piece.sample_rate = 48000
        container.mux([*sound.encode(piece), *sound.encode(None)])


def no_frames(path: Path) -> None:
    make_clip(path, frames=1, sound="aac", options={"bf": "0"})
    damaged = damage(path, path, 0)
    with av.open(str(damaged)) as container:
        packet = next(container.demux(video=0))
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)


NO_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes among files here")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "is not a supported video (MP4, MOV, Matroska, WebM, AVI)"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1\nhttp://localhost/a.ts\n"), "is not a supported video"),
        (lambda path: path.write_text("ffconcat version 1.0\nfile clip.mp4\n"), "is not a supported video"),
        (lambda path: path.write_bytes(make_clip(path).read_bytes()[:900]), "is truncated or damaged: "),
        (no_video, "has no video stream"),
        (no_frames, "has no frame that can be decoded"),
        (lambda path: make_clip(path, codec="qtrle", layout="argb"), "has an alpha channel, which would be lost"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        pytest.param(lambda path: os.mkfifo(path), "is not a file but a named pipe: it was not opened", marks=NO_PIPES),
    ],
)
def test_unreadable_videos_are_reported_with_the_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    source, out = tmp_path / "in.mov", tmp_path / "out"
    make(source)
    with pytest.raises(VideoError) as caught:
        clean_video(source, out / "clean.mov", same)
    assert str(caught.value).startswith(f"video {str(source)!r} {reason}")
    assert "\n" not in str(caught.value)
    assert not out.exists() or list(out.iterdir()) == []


def test_absurd_sizes_are_refused(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_source, "PIXELS_MAX", 1000)
    with pytest.raises(VideoError, match=f"has {WIDTH}x{HEIGHT} pixels: the limit is 1000 pixels"):
        clean_video(clip, tmp_path / "out.mp4", same)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.avi", "mjpeg"),
        ("a.mp4", "mpeg4"),
        pytest.param("a.webm", "libvpx-vp9", marks=pytest.mark.slow),
    ],
)
def test_frames_with_small_damage_are_repeated_and_counted(tmp_path: Path, name: str, codec: str) -> None:
    """Their decoders go on with what they make up; a few holes are read as other pictures, which nothing can tell."""
    whole = make_clip(
        tmp_path / name, frames=24, codec=codec, layout="yuvj420p" if codec == "mjpeg" else "yuv420p", noise=30,
        size=(160, 128), options={"g": "4", "bf": "0", "flags": "qscale", "global_quality": "400"},
    )  # fmt: skip
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data, damaged = bytearray(whole.read_bytes()), range(3, 24, 4)
    for number in damaged:
        hole = packets[number].pos + packets[number].size * 2 // 3
        data[hole : hole + 20] = bytes(20)
    broken = tmp_path / f"broken{name[1:]}"
    broken.write_bytes(data)
    cleaned = clean_video(broken, tmp_path / "out.mkv", same)
    assert cleaned.frames == 24
    assert 3 <= cleaned.repeated <= 6
    before, after = look_into(whole).frames, look_into(tmp_path / "out.mkv").frames
    assert sum(psnr([after[number]], [before[number - 1]]) > 28 for number in damaged) >= cleaned.repeated
    assert all(psnr([after[number]], [before[number]]) > 28 for number in range(24) if number not in damaged)
    assert clean_video(whole, tmp_path / "whole.mkv", same).repeated == 0


def test_the_output_is_never_the_source(clip: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(clip, tmp_path / "clip.mp4"))
    (tmp_path / "link.mp4").hardlink_to(source)
    with pytest.raises(UsageError, match="is the source"):
        clean_video(source, tmp_path / "link.mp4", same)
    inner = make_clip(tmp_path / "a.partial.mp4", frames=60)
    before = inner.read_bytes()
    with pytest.raises(VideoInterrupted) as caught:
        clean_video(inner, tmp_path / "a.mp4", interrupt_at(20))
    assert caught.value.partly.partial.name == "a.partial.partial.mp4"
    assert inner.read_bytes() == before


def interrupt_at(number: int) -> Callable[[Pixels], Pixels]:
    counter = itertools.count(1)

    def clean(frame: Pixels) -> Pixels:
        if next(counter) == number:
            raise KeyboardInterrupt
        return frame

    return clean


def test_an_error_midway_leaves_no_file(clip: Path, tmp_path: Path) -> None:
    def clean(frame: Pixels) -> Pixels:
        raise VideoError("is not liked")

    with pytest.raises(VideoError, match="is not liked"):
        clean_video(clip, tmp_path / "out.mp4", clean)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by Linux")
def test_a_stopped_call_leaves_no_thread_even_if_its_error_is_kept(clip: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyError

    threads = len([*Path("/proc/self/task").iterdir()])
    with pytest.raises(KeyError) as kept:
        clean_video(clip, tmp_path / "out.mp4", same, codec="h265", on_frame=stop)
    assert kept.traceback
    assert len([*Path("/proc/self/task").iterdir()]) <= threads


def test_an_interrupted_video_is_playable(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoInterrupted) as caught:
        clean_video(clip, tmp_path / "out.mp4", interrupt_at(31))
    partly = caught.value.partly
    assert isinstance(partly, VideoPartlyDone)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial.mp4"]
    before, after = look_into(clip), look_into(partly.partial)
    assert partly.cleaned.frames == len(after.frames) == 30
    assert after.times == before.times[:30]
    assert after.sound == before.sound[: len(after.sound)]
    assert after.rotation == 90


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_the_finished_part(tmp_path: Path, number: signal.Signals, code: int) -> None:
    options = {"preset": "ultrafast", "crf": "30"}
    source = make_clip(tmp_path / "in.mp4", frames=900, size=(160, 120), noise=30, sound="aac", options=options)
    Image.new("RGB", (9, 9)).save(tmp_path / "never.png")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [COMMAND, source, tmp_path / "never.png", "-o", out, "-m", "denoise", "--strength", "0.1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not [path for path in out.glob(".*") if path.stat().st_size > 50_000]:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert [path.name for path in out.iterdir()] == ["in.partial.mp4"]
    after = look_into(out / "in.partial.mp4")
    report = json.loads(stdout)
    (file,) = report["files"]
    assert 0 < len(after.frames) < 900
    assert abs(file["frames"] - len(after.frames)) <= 5  # those that were being written when the count ended
    assert len(after.sound) > 0
    assert file["status"] == "failed"
    assert report["totals"]["not_reached"] == 1
    told = stderr.decode().splitlines()
    assert told[0].startswith(f"failed: {str(source)!r} was interrupted: the ")
    assert told[0].endswith(f"frames that are done are in {str(out / 'in.partial.mp4')!r}")
    assert told[-1] == "cae-run: interrupted"


def test_a_stream_of_unknown_type_is_left_out_and_reported(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "in.avi", codec="mpeg4", sound="libmp3lame", frames=4).read_bytes()
    sound = data.index(b"auds")
    spoiled = data[:sound] + data[sound:].replace(b"strf", b"strx", 1)  # without it nothing says what the stream is
    (tmp_path / "in.avi").write_bytes(spoiled)
    with av.open(str(tmp_path / "in.avi")) as container:
        assert [stream.type for stream in container.streams] == ["video", "unknown"]
    done = clean_video(tmp_path / "in.avi", tmp_path / "out.avi", same)
    assert "data stream (unknown)" in done.dropped
    assert len(look_into(tmp_path / "out.avi").frames) == 4
