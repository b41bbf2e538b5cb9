"""What becomes of videos: all around the pixels is kept, and whatever is wrong with one is told in a line."""

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
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.runtime.clips import HEIGHT, WIDTH, damage, look_into, make_clip, psnr
from tests.runtime.conftest import COMMAND

from cae_runtime import video_source
from cae_runtime.errors import UsageError, VideoError
from cae_runtime.video import VideoInterrupted, VideoPartlyDone, clean_video

Command = Callable[..., subprocess.CompletedProcess[bytes]]
Pixels = np.ndarray


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ten seconds with sound, of varying frame times, turned, with wide pixels, tags and a chapter."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, frames=80, sound="aac", dress=True, varying=True, options={"g": "20"})


def same(frame: Pixels) -> Pixels:
    return frame


def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode().splitlines()


def nothing_hidden(folder: Path) -> bool:
    return not [path for path in folder.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("name", ["clean.mp4", "clean.m4v", "clean.mov", "clean.mkv"])
def test_all_around_the_pixels_is_kept(cae_run: Command, clip: Path, tmp_path: Path, name: str) -> None:
    source = clip
    if name.endswith("mkv"):  # which holds milliseconds: compare like with like
        source = make_clip(tmp_path / "in.mkv", frames=80, sound="libopus", dress=True, varying=True)
    done = cae_run(source, "-o", tmp_path / name, "--json")
    assert done.returncode == 0
    before, after = look_into(source), look_into(tmp_path / name)
    assert len(after.frames) == 80
    assert after.times == before.times
    assert after.end == before.end
    assert after.seconds == pytest.approx(before.seconds, abs=0.002)
    assert len(before.sound) > 400
    assert after.sound == before.sound
    assert after.rotation == before.rotation == 90
    assert after.colors == before.colors == (1, 1, 1, 1)
    assert after.pixel_shape == before.pixel_shape == Fraction(4, 3)
    assert after.chapters == before.chapters == [(0.0, 1.0, "one")]
    assert after.title == before.title == "a clip"
    assert (after.codec, after.layout) == ("h264", "yuv420p")
    assert psnr(after.frames, before.frames) > 38
    (file,) = json.loads(done.stdout)["files"]
    assert (file["status"], file["frames"], file["repeated"], file["dropped"]) == ("done", 80, 0, [])
    assert (file["width"], file["height"]) == (WIDTH, HEIGHT)
    assert lines(done)[-1].startswith("cleaned 1 video (80 frames) in ")
    assert nothing_hidden(tmp_path)


def test_a_packaged_model_cleans(cae_run: Command, tmp_path: Path) -> None:
    noisy = make_clip(tmp_path / "noisy.mp4", frames=6, noise=20, options={"crf": "5"})
    clean = look_into(make_clip(tmp_path / "clean.mp4", frames=6, options={"crf": "5"})).frames
    assert cae_run(noisy, "-o", tmp_path / "out.mp4", "-m", "denoise-fast-int8", model=None).returncode == 0
    assert psnr(look_into(tmp_path / "out.mp4").frames, clean) > psnr(look_into(noisy).frames, clean) + 3


@pytest.mark.parametrize(
    ("name", "codec", "sound"), [("a.webm", "libvpx-vp9", "libopus"), ("a.avi", "mjpeg", "pcm_s16le")]
)
def test_other_containers(cae_run: Command, tmp_path: Path, name: str, codec: str, sound: str) -> None:
    layout = "yuvj422p" if codec == "mjpeg" else "yuv420p"
    source = make_clip(tmp_path / name, frames=16, codec=codec, sound=sound, layout=layout)
    assert cae_run(source, "-o", tmp_path / "out").returncode == 0
    before, after = look_into(source), look_into(tmp_path / "out" / name)
    shift = after.times[0]  # AVI has the order of decoding: FFmpeg guesses when H.264 in it is shown
    assert shift == 0 or name.endswith("avi")
    assert [time - shift for time in after.times] == before.times
    assert after.sound == before.sound
    assert after.codec == ("vp9" if name.endswith("webm") else "h264")
    assert after.layout == layout
    assert psnr(after.frames, before.frames) > 38


@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("h265", "hevc"), ("vp9", "vp9"), ("av1", "av1")])
def test_codec_and_quality(cae_run: Command, tmp_path: Path, codec: str, name: str) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=8, noise=5)
    for crf in (10, 50):
        args = ("--codec", codec, "--crf", str(crf), "--ext", "mkv")
        assert cae_run(source, "-o", tmp_path / str(crf), *args).returncode == 0
    fine, coarse = (tmp_path / crf / "in.mkv" for crf in ("10", "50"))
    assert fine.stat().st_size > 1.5 * coarse.stat().st_size
    assert look_into(fine).codec == name
    assert len(look_into(coarse).frames) == 8


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--codec", "vp8"), "--codec is 'vp8': it must be one of h264, h265, vp9, av1"),
        (("--codec", "h264", "--ext", "webm"), "is WebM, which takes vp9 or av1"),
        (("--crf", "52"), "--crf is 52: for h264 it must be 0..51"),
        (("--crf", "-1"), "--crf is -1: it must be 0..63"),
        (("--ext", "ogv"), "--ext is 'ogv': it must be one of jpg"),
    ],
)
def test_wrong_options(cae_run: Command, clip: Path, tmp_path: Path, args: tuple[str, ...], reason: str) -> None:
    done = cae_run(clip, "-o", tmp_path / "out", *args)
    assert done.returncode == 2
    assert reason in lines(done)[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "out", "reason"),
    [
        ("clip.mp4", "x.png", "is a video, output"),
        ("photo.png", "x.mp4", "is an image, output"),
        ("clip.mp4", "-", "- takes and gives images"),
        ("clip.mp4", "clip.mp4", "would overwrite the source"),
    ],
)
def test_outputs_that_do_not_fit(
    cae_run: Command, clip: Path, tmp_path: Path, source: str, out: str, reason: str
) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    before = (tmp_path / "clip.mp4").read_bytes()
    done = cae_run(source, "-o", out, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in lines(done)[-1]
    assert (tmp_path / "clip.mp4").read_bytes() == before


def test_a_folder_of_images_and_videos(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    make_clip(folder / "b.mp4", frames=4)
    (folder / "c.mkv").write_text("#EXTM3U\nfile:///etc/passwd\n")
    Image.new("RGB", (50, 20), "red").save(folder / "below" / "d.png")
    make_clip(folder / "below" / "e.webm", frames=5, codec="libvpx-vp9")
    (folder / "notes.txt").write_text("neither")
    done = cae_run(folder, "-o", out, "--json")
    assert done.returncode == 1
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["a.png", "b.mp4", "below/d.png", "below/e.webm"]
    told = lines(done)
    assert told[1] == f"failed: {str(folder / 'c.mkv')!r} is no video that is read (MP4, MOV, Matroska, WebM, AVI)"
    assert told[-1].startswith("cleaned 2 images and 2 videos (9 frames) in ")
    report = json.loads(done.stdout)
    assert [file["frames"] for file in report["files"]] == [None, 4, None, 5, None]
    assert report["totals"]["megapixels"] == pytest.approx((40 * 30 + 50 * 20 + 9 * WIDTH * HEIGHT) / 1e6)


def test_what_exists_is_skipped_unless_overwritten(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    done = cae_run(clip, "-o", output)
    assert done.returncode == 0
    assert lines(done)[-1].endswith("1 skipped, their outputs exist (--overwrite replaces them)")
    assert output.read_text() == "precious"
    assert cae_run(clip, "-o", output, "--overwrite").returncode == 0
    assert len(look_into(output).frames) == 80


@pytest.fixture
def without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide PyAV from the processes that are started."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "av.py").write_text("raise ModuleNotFoundError('no av', name='av')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_a_video_names_the_command_that_installs_it(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    for source in (clip, clip.parent):
        done = cae_run(source, "-o", tmp_path / "out")
        assert done.returncode == 2
        (line,) = lines(done)
        assert line.endswith(
            "videos need an extra: pip install 'cae-toolkit[video]' (in a checkout: pip install -e '.[video]')"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_the_images_of_a_folder_are_cleaned(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "b.mp4")
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    done = cae_run(folder, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert f"failed: {str(folder / 'b.mp4')!r} videos need an extra: pip install" in lines(done)[1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(("codec", "which"), [("libx264", 0), ("libx264", 10), ("libx264", 19), ("mpeg4", 12)])
def test_a_damaged_frame_is_the_one_before_once_more(cae_run: Command, tmp_path: Path, codec: str, which: int) -> None:
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
    assert f"damaged frames, the ones before are shown longer: {file['repeated']}" in lines(done)
    if which:
        assert psnr(after.frames[which : which + 1], after.frames[which - 1 : which]) > 38


def test_frames_are_cleaned_in_turn_and_repeated_ones_not_again(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_right_and_their_tags_kept(tmp_path: Path, matrix: int, full: bool) -> None:
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    want = np.array([30, 180, 220])  # blue, green, red
    b, g, r = want / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    planes = [luma * (255 if full else 219) + (0 if full else 16), *(c * (255 if full else 224) + 128 for c in chroma)]
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, planes, strict=True):
        plane.update(bytes([round(value)]) * plane.buffer_size)
    frame.pts = 0
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video = container.add_stream("ffv1", rate=8)
        video.width, video.height = 64, 48
        video.codec_context.colorspace, video.codec_context.color_range = matrix, 2 if full else 1
        container.mux([*video.encode(frame), *video.encode(None)])
    seen: list[Pixels] = []
    clean_video(tmp_path / "in.mkv", tmp_path / "out.mkv", lambda pixels: (seen.append(pixels), pixels)[1], crf=0)
    assert np.abs(seen[0][20, 20].astype(int) - want).max() <= 2
    with av.open(str(tmp_path / "out.mkv")) as container:
        after = next(container.decode(video=0))
        assert (after.colorspace, after.color_range) == (matrix, 2 if full else 1)
        for plane, value in zip(after.planes, planes, strict=True):
            assert abs(bytes(plane)[5] - value) <= 1.6


def test_ten_bits_become_eight_and_are_listed(cae_run: Command, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mov", codec="prores_ks", layout="yuv422p10le")
    done = cae_run(source, "-o", tmp_path / "out.mov")
    assert done.returncode == 0
    assert "metadata that did not come along in 1 video (10 frames): 10 bits a channel (8 are written)" in lines(done)
    assert look_into(tmp_path / "out.mov").layout == "yuv422p"


def test_odd_sizes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(37, 23))
    clean_video(source, tmp_path / "out.mp4", same)
    assert look_into(tmp_path / "out.mp4").frames[0].shape == (23, 37, 3)


def test_subtitles_and_fonts_are_copied(tmp_path: Path) -> None:
    bare, source = make_clip(tmp_path / "bare.mkv", frames=16), tmp_path / "in.mkv"
    with av.open(str(bare)) as read, av.open(str(source), "w") as container:
        video = container.add_stream_from_template(read.streams.video[0], opaque=True)
        text = container.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        text.metadata["language"] = "deu"
        container.add_attachment("font.ttf", "font/ttf", b"a font")
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        line = av.Packet(b"Guten Tag")
        line.stream, line.pts, line.dts, line.duration, line.time_base = text, 500, 500, 900, Fraction(1, 1000)
        container.mux(line)
    cleaned = clean_video(source, tmp_path / "out.mkv", same)
    assert cleaned.dropped == ()
    assert look_into(tmp_path / "out.mkv").subtitles == [(Fraction(1, 2), b"Guten Tag")]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.subtitles[0].metadata["language"] == "deu"
        assert container.streams.attachments[0].data == b"a font"
    assert "subtitles (srt)" in clean_video(source, tmp_path / "out.mp4", same).dropped


def test_a_format_without_room_for_the_sound_is_refused(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    done = cae_run(clip, "-o", tmp_path / "out.webm")
    assert done.returncode == 1
    assert "has sound (aac) that WebM cannot hold: write Matroska (--ext mkv" in lines(done)[1]
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "is no video that is read (MP4, MOV, Matroska, WebM, AVI)"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1\nhttp://localhost/a.ts\n"), "is no video that is read"),
        (lambda path: path.write_text("ffconcat version 1.0\nfile clip.mp4\n"), "is no video that is read"),
        (lambda path: path.write_bytes(make_clip(path).read_bytes()[:900]), "is truncated or damaged: "),
        (no_video, "has no video stream"),
        (no_frames, "has no frame that can be decoded"),
        (lambda path: make_clip(path, codec="qtrle", layout="argb"), "has an alpha channel, which would be lost"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    source, out = tmp_path / "in.mov", tmp_path / "out"
    make(source)
    with pytest.raises(VideoError) as caught:
        clean_video(source, out / "clean.mov", same)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)
    assert not out.exists() or list(out.iterdir()) == []


def test_absurd_sizes_are_refused(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_source, "PIXELS_MAX", 1000)
    with pytest.raises(VideoError, match=f"has {WIDTH}x{HEIGHT} pixels: the limit is 1000 pixels"):
        clean_video(clip, tmp_path / "out.mp4", same)


def test_of_a_truncated_file_what_is_there_is_kept(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    whole = make_clip(tmp_path / "whole.mkv", frames=60, noise=5, options={"bf": "0"})
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = cae_run(cut, "-o", tmp_path / "out" / "clean.mkv")
    assert done.returncode == 1
    assert f"failed: {str(cut)!r} is truncated: its last " in lines(done)[1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clean.partial.mkv"]
    assert 10 < len(look_into(tmp_path / "out" / "clean.partial.mkv").frames) < 50


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


def test_an_error_in_the_middle_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    def clean(frame: Pixels) -> Pixels:
        raise VideoError("is not liked")

    with pytest.raises(VideoError, match="is not liked"):
        clean_video(clip, tmp_path / "out.mp4", clean)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_video_can_be_played(clip: Path, tmp_path: Path) -> None:
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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_of_the_command(tmp_path: Path, number: signal.Signals, code: int) -> None:
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
    if number == signal.SIGTERM:
        assert list(out.iterdir()) == []
        return
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
    assert told[1].startswith(f"failed: {str(source)!r} was interrupted: the ")
    assert told[1].endswith(f"frames up to there are in {str(out / 'in.partial.mp4')!r}")
    assert told[-1] == "cae-run: interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_a_terminal_shows_the_frames(clip: Path, tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [COMMAND, clip, "-o", tmp_path / "o.mp4", "-m", "denoise"], stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(60) == 0
    assert b"clip.mp4" in shown
    assert b"/80" in shown
