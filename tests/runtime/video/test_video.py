"""Videos keep everything besides their pixels, and what cannot be kept is reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.runtime.clips import HEIGHT, WIDTH, lines, look_into, make_clip, psnr, same
from tests.runtime.conftest import COMMAND

from cae_runtime.errors import UsageError
from cae_runtime.video.clean_video import clean_video

Command = Callable[..., subprocess.CompletedProcess[bytes]]
Pixels = np.ndarray


def nothing_hidden(folder: Path) -> bool:
    return not [path for path in folder.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("name", ["clean.mp4", "clean.m4v", "clean.mov", "clean.mkv"])
def test_sound_times_and_metadata_are_kept(cae_run: Command, clip: Path, tmp_path: Path, name: str) -> None:
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


def test_a_packaged_model_cleans_a_video(cae_run: Command, tmp_path: Path) -> None:
    noisy = make_clip(tmp_path / "noisy.mp4", frames=6, noise=20, options={"crf": "5"})
    clean = look_into(make_clip(tmp_path / "clean.mp4", frames=6, options={"crf": "5"})).frames
    assert cae_run(noisy, "-o", tmp_path / "out.mp4", "-m", "denoise-fast-int8", model=None).returncode == 0
    assert psnr(look_into(tmp_path / "out.mp4").frames, clean) > psnr(look_into(noisy).frames, clean) + 3


@pytest.mark.parametrize(
    ("name", "codec", "sound"), [("a.webm", "libvpx-vp9", "libopus"), ("a.avi", "mjpeg", "pcm_s16le")]
)
def test_other_containers_are_written(cae_run: Command, tmp_path: Path, name: str, codec: str, sound: str) -> None:
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
def test_codec_and_quality_can_be_chosen(cae_run: Command, tmp_path: Path, codec: str, name: str) -> None:
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
        (("--codec", "av1", "--pixel-format", "yuv444p"), "pixel format is 'yuv444p': av1 takes yuv420p"),
        (("--codec", "h264", "--ext", "webm"), "is WebM, which takes vp9 or av1"),
        (("--crf", "52"), "crf is 52: it must be 0..51"),
        (("--crf", "-1"), "--crf is -1: it must be 0..51, with vp9 and av1 0..63"),
        (("--ext", "ogv"), "--ext is 'ogv': it must be one of jpg"),
    ],
)
def test_wrong_options_are_refused(
    cae_run: Command, clip: Path, tmp_path: Path, args: tuple[str, ...], reason: str
) -> None:
    done = cae_run(clip, "-o", tmp_path / "out", *args)
    assert done.returncode == 2
    assert reason in lines(done)[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "out", "reason"),
    [
        ("clip.mp4", "x.png", "is a video, output"),
        ("photo.png", "x.mp4", "is an image, output"),
        ("clip.mp4", "-", "- is for images"),
        ("clip.mp4", "clip.mp4", "would overwrite the source"),
    ],
)
def test_unsuitable_outputs_are_refused(
    cae_run: Command, clip: Path, tmp_path: Path, source: str, out: str, reason: str
) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    before = (tmp_path / "clip.mp4").read_bytes()
    done = cae_run(source, "-o", out, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in lines(done)[-1]
    assert (tmp_path / "clip.mp4").read_bytes() == before


def test_a_folder_of_images_and_videos_is_cleaned(cae_run: Command, clip: Path, tmp_path: Path) -> None:
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
    assert told[0] == f"failed: {str(folder / 'c.mkv')!r} is not a supported video (MP4, MOV, Matroska, WebM, AVI)"
    assert told[-1].startswith("cleaned 2 images and 2 videos (9 frames) in ")
    report = json.loads(done.stdout)
    assert [file["frames"] for file in report["files"]] == [None, 4, None, 5, None]
    assert report["totals"]["megapixels"] == pytest.approx((40 * 30 + 50 * 20 + 9 * WIDTH * HEIGHT) / 1e6)


def test_existing_outputs_are_skipped_unless_overwritten(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    done = cae_run(clip, "-o", output)
    assert done.returncode == 0
    assert lines(done)[-1].endswith("1 skipped, their outputs exist (--overwrite replaces them)")
    assert output.read_text() == "precious"
    assert cae_run(clip, "-o", output, "--overwrite").returncode == 0
    assert len(look_into(output).frames) == 80


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colors_are_right_and_their_tags_are_kept(tmp_path: Path, matrix: int, full: bool) -> None:
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


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [("a.mp4", "h264", (38, 24)), ("a.mkv", "h265", (38, 24)), ("a.webm", "vp9", (37, 23)), ("a.mkv", "av1", (37, 23))],
)
def test_rgb_of_odd_size_becomes_a_format_that_all_players_support(
    tmp_path: Path, name: str, codec: str, size: tuple[int, int]
) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="bgr0", size=(37, 23), frames=3)
    cleaned = clean_video(source, tmp_path / name, same, codec=codec)
    after = look_into(tmp_path / name)
    assert (after.layout, after.frames[0].shape) == ("yuv420p", (size[1], size[0], 3))
    assert any(what.startswith("full chroma (4:2:0 is written") for what in cleaned.dropped)
    said = f"odd size ({size[0]}x{size[1]} is written, the last column and row repeated; "
    assert any(what.startswith(said) for what in cleaned.dropped) == (size != (37, 23))
    np.testing.assert_allclose(after.frames[0][20, -1], after.frames[0][20, 36], atol=12)
    if codec == "av1":
        with pytest.raises(UsageError, match="pixel format is 'yuv444p': av1 takes yuv420p"):
            clean_video(source, tmp_path / "all.mkv", same, codec=codec, pixel_format="yuv444p")
        return
    all_of_it = tmp_path / f"all{name[1:]}"
    assert clean_video(source, all_of_it, same, codec=codec, pixel_format="yuv444p").dropped == ()
    kept = look_into(all_of_it)
    assert (kept.layout, kept.frames[0].shape) == ("yuv444p", (23, 37, 3))


@pytest.mark.slow
def test_small_frames_are_written_or_refused_without_a_crash(tmp_path: Path) -> None:
    """In a process of its own: x265 has ended those that gave it frames of 34 to 64 pixels a row."""
    code = """
import sys
from pathlib import Path
from tests.runtime.clips import look_into, make_clip, same
from cae_runtime import clean_video
from cae_runtime.errors import VideoError
folder = Path(sys.argv[1])
for width, height in [(1, 1), (4, 4), (15, 40), (16, 16), (34, 16), (40, 20), (48, 20), (48, 32)]:
    source = make_clip(folder / "in.mkv", codec="ffv1", size=(width, height), frames=6, noise=60)
    for codec in ("h264", "h265", "vp9", "av1"):
        try:
            clean_video(source, folder / "out.mkv", same, codec=codec)
            print(codec, width, height, len(look_into(folder / "out.mkv").frames))
        except VideoError as e:
            print(e)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Svt" not in done.stderr
    told = done.stdout.splitlines()
    refused = [line for line in told if "takes" in line]
    assert len(told) == 32
    assert len(refused) == 5
    assert all("choose another codec" in line for line in refused)
    assert any("has 15x40 pixels: h265 takes 16x16 and more" in line for line in refused)
    assert all(line.endswith(" 6") for line in told if line not in refused)


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


def test_a_format_that_cannot_hold_the_sound_is_refused(cae_run: Command, clip: Path, tmp_path: Path) -> None:
    done = cae_run(clip, "-o", tmp_path / "out.webm")
    assert done.returncode == 1
    assert "has sound (aac) that WebM cannot hold: write Matroska (--ext mkv" in lines(done)[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_the_terminal_shows_progress_in_frames(clip: Path, tmp_path: Path) -> None:
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
