"""Videos of more than 8 bits keep 10 bits, their color metadata, captions and further streams."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import ColorRange, VideoReformatter
from tests.runtime.clips import HEIGHT, WIDTH, lines, same
from tests.runtime.conftest import FIXTURES

from cae_runtime.errors import ImageTypeError, UsageError
from cae_runtime.video.clean_video import clean_video
from cae_runtime.video.temporal_filter import TemporalFilter
from cae_shared.scheduling import usual_scheduling

Command = Callable[..., subprocess.CompletedProcess[bytes]]
BT2020, PQ = 9, 16
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
HDR = {"x265-params": f"log-level=none:master-display={DISPLAY}:max-cll=1000,400"}
QUIET = {"x265-params": "log-level=none"}
RAMP = np.broadcast_to(np.linspace(256, 768, WIDTH), (HEIGHT, WIDTH))  # finer than 8 bits can tell


def deep_clip(
    path: Path, codec: str = "libx265", layout: str = "yuv420p10le", options: dict[str, str] = QUIET, frames: int = 6
) -> Path:
    """Write a clip of a ramp with more than 256 levels, tagged as BT.2020 and PQ."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, layout
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = BT2020, BT2020, PQ, 1
        with usual_scheduling():
            container.start_encoding()
        gray = np.round(RAMP / 1023 * 65535).astype(np.uint16)
        for index in range(frames):
            frame = VideoReformatter().reformat(
                av.VideoFrame.from_ndarray(np.dstack([gray] * 3), "bgr48le"),
                format=layout, dst_colorspace=BT2020, src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG,
            )  # fmt: skip
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = BT2020, BT2020, PQ, 1
            frame.pts, frame.time_base = index, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def side_data_of(frame: av.VideoFrame) -> Any:
    """Return what PyAV types wrongly: the side data by kind."""
    return frame.side_data


def luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    deep = plane.line_size // frame.width >= 2
    rows = np.frombuffer(bytes(plane), np.uint16 if deep else np.uint8).reshape(frame.height, -1)
    return rows[:, : frame.width].astype(int)


@pytest.mark.parametrize(
    ("source", "codec", "layout", "output", "written"),
    [
        ("in.mp4", "libx265", "yuv420p10le", "out.mp4", ("hevc", "yuv420p10le")),
        ("in.mkv", "libx265", "yuv422p10le", "out.mkv", ("hevc", "yuv422p10le")),
        ("in.mov", "prores_ks", "yuv422p10le", "out.mov", ("hevc", "yuv422p10le")),
        ("in.mkv", "libsvtav1", "yuv420p10le", "out.webm", ("libdav1d", "yuv420p10le")),
        ("in.webm", "vp9", "yuv420p10le", "out.webm", ("libdav1d", "yuv420p10le")),
        ("in.webm", "vp9", "yuv420p10le", "out.mkv", ("hevc", "yuv420p10le")),
    ],
)
def test_ten_bits_stay_ten_bits(
    cae_run: Command, tmp_path: Path, source: str, codec: str, layout: str, output: str, written: tuple[str, str]
) -> None:
    options = {"libx265": QUIET, "libsvtav1": {"preset": "10", "crf": "5"}}.get(codec, {})
    if codec == "vp9":  # `deep_clip` as FFV1, encoded by ffmpeg: -c:v libvpx-vp9 -profile:v 2 -crf 4 -b:v 0
        shutil.copy(FIXTURES / "vp9_ten_bits.webm", tmp_path / source)
    else:
        deep_clip(tmp_path / source, codec, layout, options)
    done = cae_run(tmp_path / source, "-o", tmp_path / output, "--crf", "4", "--json")
    assert done.returncode == 0
    (file,) = json.loads(done.stdout)["files"]
    assert file["dropped"] == []
    before, after = frames_of(tmp_path / source), frames_of(tmp_path / output)
    with av.open(str(tmp_path / output)) as container:
        assert container.streams.video[0].codec_context.name == written[0]
    assert {frame.format.name for frame in after} == {written[1]}
    assert (after[0].colorspace, after[0].color_primaries, after[0].color_trc, after[0].color_range) == (9, 9, 16, 1)
    assert len(after) == len(before) == 6
    error = luma(after[3])[8:-8, 8:-8] - luma(before[3])[8:-8, 8:-8]
    assert np.abs(error).mean() < 1  # of 1023: a quarter of a level of 8 bits
    assert len(np.unique(luma(after[3]) % 4)) == 4  # and not levels of 8 bits


def test_12_bits_become_10_and_other_codecs_get_8(cae_run: Command, tmp_path: Path) -> None:
    source = deep_clip(tmp_path / "in.mkv", "ffv1", "yuv444p12le", {})
    for args, told, layout in (
        ((), "12 bits per channel (10 are written)", "yuv444p10le"),
        (("--codec", "h264"), "12 bits per channel (8 are written)", "yuv444p"),
        (("--codec", "av1"), "12 bits per channel (10 are written), full chroma (4:2:0 is written)", "yuv420p10le"),
        (("--pixel-format", "yuv420p"), "12 bits per channel (8 are written)", "yuv420p"),
    ):
        done = cae_run(source, "-o", tmp_path / "out.mkv", "--overwrite", *args)
        assert done.returncode == 0
        assert f"not kept from {str(source)!r}: {told}" in lines(done)
        assert frames_of(tmp_path / "out.mkv")[0].format.name == layout
    done = cae_run(source, "-o", tmp_path / "out.avi")
    assert "12 bits per channel (8 are written)" in done.stderr.decode()


def test_8_bits_are_written_as_10_on_request(tmp_path: Path, clip: Path) -> None:
    clean_video(clip, tmp_path / "out.mp4", same, pixel_format="yuv420p10le")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    with pytest.raises(UsageError, match="pixel format is 'yuv420p10le': h264 takes yuv420p, yuv422p or yuv444p"):
        clean_video(clip, tmp_path / "out.mp4", same, codec="h264", pixel_format="yuv420p10le")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux schedules so")
def test_no_encoder_slows_down_other_processes(tmp_path: Path, clip: Path) -> None:
    seen: set[int] = set()

    def look(frame: np.ndarray) -> np.ndarray:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                seen.add(os.sched_getscheduler(int(thread.name)))
        return frame

    clean_video(clip, tmp_path / "out.mkv", look, codec="av1")  # as root, SVT-AV1 asks for real-time scheduling
    assert seen == {os.SCHED_OTHER}


def test_functions_get_16_bits_of_deep_videos(tmp_path: Path) -> None:
    source = deep_clip(tmp_path / "in.mp4")
    seen: list[np.ndarray] = []
    clean_video(source, tmp_path / "out.mp4", lambda frame: (seen.append(frame), frame)[1])
    assert {frame.dtype for frame in seen} == {np.dtype(np.uint16)}
    error = seen[0][8:-8, 8:-8, 1] / 65535 - RAMP[8:-8, 8:-8] / 1023
    assert np.abs(error).mean() < 1 / 1023
    with pytest.raises(ImageTypeError, match=r"returned uint8 of shape \(64, 96, 3\) for a frame: uint16 of shape"):
        clean_video(source, tmp_path / "out.mp4", lambda frame: (frame >> 8).astype(np.uint8))
    clean_video(source, tmp_path / "out.mp4", lambda frame: (seen.append(frame), frame)[1], codec="h264")
    assert seen[-1].dtype == np.uint8


@pytest.mark.parametrize("codec", ["h265", "av1", "h264", "vp9"])
def test_hdr_metadata_is_kept(tmp_path: Path, codec: str) -> None:
    source = deep_clip(tmp_path / "in.mp4", options=HDR)
    told = clean_video(source, tmp_path / "out.mkv", same, codec=codec).dropped
    kinds = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
    before, after = (side_data_of(frames_of(path)[0]) for path in (source, tmp_path / "out.mkv"))
    if codec == "vp9":
        assert {"HDR mastering display", "HDR content light level"} <= set(told)
        return
    assert not any("HDR" in what for what in told)
    for kind in kinds:
        old, new = (bytes(found[kind]) for found in (before, after))
        if kind == Type.CONTENT_LIGHT_LEVEL:
            assert new == old
            continue
        numbers = [np.frombuffer(block, np.int32)[:20].reshape(-1, 2) for block in (old, new)]
        had, has = (each[:, 0] / each[:, 1] for each in numbers)
        np.testing.assert_allclose(has, had, rtol=0.02, atol=1e-4)


def captions(text: bytes) -> bytes:
    """An H.264 message of closed captions (ATSC A/53): two characters of CEA-608."""
    body = b"\xb5\x00\x31GA94\x03\x41\xff" + bytes([0xFC]) + text + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes([len(body)]) + body + b"\x80"


def captioned_clip(path: Path) -> Path:
    """Write an H.264 clip that has captions in each of its frames but the first one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = []
        for index in range(6):
            picture = np.clip(RAMP / 4 + 4 * index, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.dstack([picture] * 3), "bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 8)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            text = bytes([0x41 + int(packet.pts * packet.time_base * 8)]) * 2
            fresh = av.Packet((captions(text) if packet.pts else b"") + bytes(packet))
            fresh.pts, fresh.dts, fresh.time_base, fresh.stream = packet.pts, packet.dts, packet.time_base, stream
            fresh.is_keyframe = packet.is_keyframe
            container.mux(fresh)
    return path


def captions_of(path: Path) -> list[bytes]:
    found = [side_data_of(frame) for frame in frames_of(path)]
    return [bytes(data[Type.A53_CC]) for data in found if Type.A53_CC in data]


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_closed_captions_are_kept_or_reported_as_lost(tmp_path: Path, codec: str) -> None:
    source = captioned_clip(tmp_path / "in.mkv")
    before = captions_of(source)
    assert before == [bytes([0xFC, 0x41 + number, 0x41 + number]) for number in range(1, 6)]
    told = clean_video(source, tmp_path / "out.mkv", lambda frame: 255 - frame, codec=codec).dropped
    assert captions_of(tmp_path / "out.mkv") == ([] if codec == "av1" else before)
    assert told == (("closed captions",) if codec == "av1" else ())
    for old, new in zip(frames_of(source), frames_of(tmp_path / "out.mkv"), strict=True):  # the cleaned pixels
        inverted = 255 - old.to_ndarray(format="bgr24")
        assert np.abs(inverted.astype(int) - new.to_ndarray(format="bgr24")).mean() < 4


def dressed_clip(path: Path) -> Path:
    """Write a clip with a second video stream, a timecode track, and a cover picture, except in MOV."""
    rng = np.random.default_rng(3)
    cover = cv2.imencode(".jpg", rng.integers(0, 255, (32, 32, 3)).astype(np.uint8))[1].tobytes()
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = WIDTH >> number, HEIGHT >> number, "yuv420p"
        streams[0].metadata["timecode"] = "01:02:03:04"
        if path.suffix == ".mkv":
            container.add_attachment("cover.jpg", "image/jpeg", cover)
        if path.suffix == ".mp4":
            picture = av.Packet(cover)
            picture.stream = container.add_stream("mjpeg")
            picture.stream.width, picture.stream.height, picture.stream.pix_fmt = 32, 32, "yuvj444p"
            picture.stream.disposition = Disposition.attached_pic
            picture.pts = picture.dts = 0
            picture.is_keyframe, picture.time_base = True, Fraction(1, 25)
            container.start_encoding()
            container.mux(picture)
        for index in range(8):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(
                    rng.integers(0, 255, (stream.height, stream.width, 3)).astype(np.uint8), "bgr24"
                )
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def data_of(path: Path, cover: bool) -> list[bytes]:
    """Return the packets of the second video stream, or of the cover picture."""
    with av.open(str(path)) as container:
        covers = [each for each in container.streams.video if each.disposition & Disposition.attached_pic]
        stream = covers[0] if cover else container.streams.video[1]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def timecode(path: Path) -> str:
    with av.open(str(path)) as container:
        tags = container.streams.video[0].metadata
        return next(value for key, value in tags.items() if key.lower() == "timecode")


@pytest.mark.parametrize(
    ("name", "output"),
    [("a.mov", "b.mov"), ("a.mp4", "b.mp4"), ("a.mkv", "b.mkv"), ("a.mp4", "b.mkv"), ("a.mkv", "b.mp4")],
)
def test_further_streams_covers_and_timecodes_are_kept(
    cae_run: Command, tmp_path: Path, name: str, output: str
) -> None:
    source = dressed_clip(tmp_path / name)
    done = cae_run(source, "-o", tmp_path / output, "--json")
    assert done.returncode == 0
    (file,) = json.loads(done.stdout)["files"]
    assert timecode(tmp_path / output) == timecode(source) == "01:02:03:04"
    assert len(data_of(source, False)) == 8
    if name[-3:] == output[-3:]:
        assert data_of(tmp_path / output, False) == data_of(source, False)
    if name != "a.mov":
        assert data_of(tmp_path / output, True) == data_of(source, True)
    with av.open(str(tmp_path / output)) as container:
        kinds = [stream.type for stream in container.streams]
    assert kinds.count("video") == (2 if name == "a.mov" else 3)
    assert ("data" in kinds) == (not output.endswith("mkv"))
    assert file["dropped"] == []
    assert [note["kind"] for note in file["notes"]] == ["copied"]
    said = f"note: {str(source)!r}: 1 further video stream copied as in the source: only the first is cleaned"
    assert said in lines(done)


def test_streams_that_a_container_cannot_hold_are_reported_as_lost(tmp_path: Path) -> None:
    source = dressed_clip(tmp_path / "a.mp4")
    told = clean_video(source, tmp_path / "out.webm", same).dropped
    assert told == ("a further video stream (h264)", "cover picture")
    assert clean_video(source, tmp_path / "out.mov", same).dropped == ("cover picture",)


def test_the_filter_treats_16_bits_like_8(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    clean = cv2.GaussianBlur(rng.uniform(0, 255, (96, 128, 3)).astype(np.float32), (0, 0), 6)
    clean = np.clip((clean - clean.mean()) * 9 + 128, 0, 255)
    eight, sixteen = TemporalFilter(), TemporalFilter()
    for _ in range(12):
        noisy = np.clip(clean + rng.normal(0, 12, clean.shape), 0, 255)
        shown = eight(np.rint(noisy).astype(np.uint8))
        deep = sixteen(np.rint(noisy * 257).astype(np.uint16))
        assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - shown).mean() < 0.35  # rounding alone is 0.25
    assert np.sqrt(np.mean((deep / 257 - clean) ** 2)) < 6
    assert len(np.unique(deep)) > 5000
