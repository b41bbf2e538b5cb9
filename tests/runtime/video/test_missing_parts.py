"""A truncated or mostly damaged video fails; its readable part is kept."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from tests.runtime.clips import ALWAYS_ALIKE, HEIGHT, WIDTH, damage, lines, look_into, make_clip, same

from cae_runtime.io.formats import VideoCoding
from cae_runtime.video.clean_video import clean_video
from cae_runtime.video.files.transcode import transcode
from cae_runtime.video.integrity.containers import is_cut_off
from cae_runtime.video.results import CleanedVideo, VideoPartlyDone

Command = Callable[..., subprocess.CompletedProcess[bytes]]


def test_the_readable_part_of_a_truncated_file_is_kept(cae_run: Command, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    whole = make_clip(tmp_path / "whole.mkv", frames=60, noise=5, options={"bf": "0"})
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = cae_run(cut, "-o", tmp_path / "out" / "clean.mkv")
    assert done.returncode == 1
    assert f"failed: {str(cut)!r} is truncated: its last " in lines(done)[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clean.partial.mkv"]
    assert 10 < len(look_into(tmp_path / "out" / "clean.partial.mkv").frames) < 50


FORMATS = {"mkv": {}, "webm": {}, "avi": {}, "mp4": {"movflags": "faststart"}, "mov": {"movflags": "frag_keyframe"}}


@pytest.mark.parametrize("start", [0, 80])
@pytest.mark.parametrize("ending", FORMATS)
def test_truncated_and_complete_files_are_told_apart(tmp_path: Path, ending: str, start: int) -> None:
    path = tmp_path / f"in.{ending}"
    codec = {"webm": "libvpx-vp9", "avi": "mjpeg"}.get(ending, "libx264")
    with av.open(str(path), "w", container_options=FORMATS[ending]) as container:
        video = container.add_stream(codec, rate=8, options={"bf": "0", "g": "4"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(
                np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "bgr24"
            )
            frame.pts = start + number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    cleaned = clean_video(path, tmp_path / f"out.{ending}", same)
    assert cleaned.frames == cleaned.repeated + 12 == 12
    if ending not in ("avi", "mov"):
        assert look_into(tmp_path / f"out.{ending}").times == look_into(path).times
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
    path.write_bytes(path.read_bytes()[: last.pos + last.size // 2])  # 0.06 s are missing
    with pytest.raises(VideoPartlyDone, match="is truncated"):
        clean_video(path, tmp_path / f"cut.{ending}", same)


@pytest.mark.parametrize(("damaged", "code"), [(10, 0), (11, 1)])
def test_a_video_with_mostly_damaged_frames_fails(tmp_path: Path, damaged: int, code: int) -> None:
    source = make_clip(tmp_path / "in.mp4", frames=20, noise=30, options={"g": "1", "bf": "0"})
    for number in range(1, 1 + damaged):
        damage(source, source, number)
    if not code:
        assert clean_video(source, tmp_path / "out.mp4", same).repeated == 10
        return
    with pytest.raises(VideoPartlyDone, match="is damaged: 11 of 20 frames cannot be decoded: the 20 frames that"):
        clean_video(source, tmp_path / "out.mp4", same)
    assert len(look_into(tmp_path / "out.partial.mp4").frames) == 20


def zeroed(begin: float, length: int) -> Callable[[bytearray], None]:
    """Zero bytes from a share of the file on."""

    def change(data: bytearray) -> None:
        at = int(len(data) * begin)
        data[at : at + length] = bytes(len(data[at : at + length]))

    return change


def second_fragment(data: bytearray) -> None:
    at = data.index(b"moof", data.index(b"moof") + 4) - 4
    data[at : at + 200] = bytes(200)


ALL = 1 << 20


@pytest.mark.parametrize(
    ("name", "codec", "change", "reason"),
    [
        ("a.mkv", "libx264", zeroed(0.5, ALL), r"3\.\d seconds"),
        ("a.mkv", "libx264", zeroed(0.25, 6000), r"\d\.\d seconds"),
        ("a.webm", "libvpx-vp9", zeroed(0.6, 700), r"\d\.\d seconds"),
        ("a.avi", "mjpeg", zeroed(0.5, ALL), r"\d\d of its 48 frames"),
        ("a.avi", "mjpeg", zeroed(0.5, 3000), r"\d of its 48 frames"),
        ("a.mov", "libx264", second_fragment, "its end"),
    ],
)
def test_missing_parts_are_reported(
    tmp_path: Path, name: str, codec: str, change: Callable[[bytearray], None], reason: str
) -> None:
    source, layout = tmp_path / name, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(source), "w", container_options=FORMATS[name[2:]]) as container:
        video = container.add_stream(codec, rate=8, options={"g": "8"} | (ALWAYS_ALIKE if codec == "libx264" else {}))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, layout
        rng = np.random.default_rng(3)
        for _ in range(48):
            picture = rng.integers(90, 160, (HEIGHT, WIDTH, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(video.encode(None))
    assert clean_video(source, tmp_path / "out.mkv", same).frames == 48
    data = bytearray(source.read_bytes())
    change(data)
    source.write_bytes(data)
    with pytest.raises(VideoPartlyDone, match=f"is damaged: {reason} (are|is) missing: the") as caught:
        clean_video(source, tmp_path / "out.mkv", same)
    assert caught.value.cleaned.frames < 48
    assert caught.value.partial.exists()


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_pauses_and_longer_sound_do_not_count_as_missing(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    with av.open(str(source), "w", container_options=FORMATS[name[2:]]) as container:
        video, audio = container.add_stream("libx264", rate=8), container.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for time in (0, 1, 2, 40, 41, 80):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), time, np.uint8), "bgr24")
            frame.pts = time
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for second in range(15):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            piece.sample_rate, piece.pts = 8000, second * 8000
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    assert clean_video(source, tmp_path / "out.mkv", same).frames == 6


MANY = 100_001


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * MANY, id="Matroska"),
        pytest.param((b"RIFF\2\0\0\0" + b"AV") * MANY, id="AVI"),
        pytest.param(b"\0\0\0\x08moov" + b"\0\0\0\x08free" * MANY, id="MP4"),
    ],
)
def test_a_file_of_very_many_parts_is_not_read_completely(tmp_path: Path, parts: bytes) -> None:
    (tmp_path / "clip").write_bytes(parts)
    assert is_cut_off(tmp_path / "clip") is None
    (tmp_path / "clip").write_bytes(parts[: len(parts) // 20 * 10])
    assert is_cut_off(tmp_path / "clip") is not None


def test_a_written_video_is_reported_even_after_ctrl_c(tmp_path: Path) -> None:
    def interrupted_as_soon_as_it_is_there(cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> None:
        assert output.exists()
        assert partly is None
        told.append(cleaned.frames)
        raise KeyboardInterrupt

    told: list[int] = []
    source, output = make_clip(tmp_path / "clip.mkv", frames=3), tmp_path / "clean.mkv"
    with pytest.raises(KeyboardInterrupt):
        transcode(source, output, same, VideoCoding(), on_written=interrupted_as_soon_as_it_is_there)
    assert told == [3]


def changed(clip: Path, table: bytes, at: int, value: int) -> Path:
    """Write a copy of an MP4 with another number at a place of a table's content."""
    data = bytearray(clip.read_bytes())
    struct.pack_into(">I", data, data.index(table) + 4 + at, value)
    target = clip.with_stem("changed")
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("table", "at", "value"),
    [
        (b"stts", 12, 20480),  # ten times as long
        (b"ctts", 4, 0),  # no entries
        (b"elst", 8, 1000),  # half as long
        (b"elst", 12, 16384),  # begins in the middle
        (b"stsz", 8, 6),
        (b"stsc", 12, 4),  # in each of its parts
    ],
)
def test_frames_hidden_by_the_tables_count_as_missing(tmp_path: Path, table: bytes, at: int, value: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=16, noise=5)
    assert clean_video(clip, tmp_path / "clean.mp4", same).frames == 16
    with pytest.raises(VideoPartlyDone, match=r"is (damaged|truncated): "):
        clean_video(changed(clip, table, at, value), tmp_path / "out.mp4", same)
    assert not (tmp_path / "out.mp4").exists()


def test_trimmed_frames_are_reported(tmp_path: Path) -> None:
    clip, trimmed = make_clip(tmp_path / "clip.mp4", frames=16, options={"bf": "0"}), tmp_path / "trimmed.mov"
    with av.open(str(clip)) as whole, av.open(str(trimmed), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 8192, packet.dts - 8192  # of 16384 a second
                packet.stream = stream
                container.mux(packet)
    cleaned = clean_video(trimmed, tmp_path / "clean.mov", same)
    assert (cleaned.frames, cleaned.dropped) == (12, ("4 of 16 frames, which its edit list leaves out",))


def test_invalid_frame_times_are_reported(tmp_path: Path) -> None:
    clip = changed(make_clip(tmp_path / "clip.mp4", frames=16, options={"bf": "0"}), b"stts", 12, 0)
    cleaned = clean_video(clip, tmp_path / "clean.mp4", same)
    assert (cleaned.frames, cleaned.dropped) == (
        16, ("times (its frames last 0.0 s, its header says 2.0 s)", "times of 15 frames, which were out of order"),
    )  # fmt: skip
