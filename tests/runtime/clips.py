"""Small video files for the tests, and all that is to be known of one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
BT709 = 1
LIMITED = 1
ALWAYS_ALIKE = {"x264-params": "mbtree=0"}  # with its macroblock tree x264 makes other files of the same frames


@dataclass(frozen=True)
class Seen:
    """What a video file has."""

    frames: list[np.ndarray]
    times: list[Fraction]
    end: Fraction | None
    sound: list[tuple[Fraction, bytes]]
    subtitles: list[tuple[Fraction, bytes]]
    seconds: float
    rotation: int
    colors: tuple[int, int, int, int]
    pixel_shape: Fraction | None
    chapters: list[tuple[float, float, str]]
    title: str | None
    codec: str
    layout: str


def make_clip(
    path: Path,
    *,
    frames: int = 10,
    codec: str = "libx264",
    layout: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sound: str | None = None,
    dress: bool = False,
    varying: bool = False,
    noise: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of 8 frames per second; `dress` gives it all that is to be kept, `varying` its frames' times."""
    rng = np.random.default_rng(5)
    width, height = size
    with av.open(str(path), "w") as container:
        alike = ALWAYS_ALIKE if codec == "libx264" else {}
        video = container.add_stream(codec, rate=8, options=alike | (options or {}))
        video.width, video.height, video.pix_fmt = width, height, layout
        if varying:
            video.codec_context.time_base = Fraction(1, 800)
        unit = 100 if varying else 1
        audio = container.add_stream(sound, rate=48000) if sound else None
        if dress:
            video.codec_context.sample_aspect_ratio = Fraction(4, 3)
            video.codec_context.color_range = LIMITED
            video.codec_context.colorspace = BT709
            video.codec_context.color_primaries = BT709
            video.codec_context.color_trc = BT709
            video.set_display_rotation(90)
            container.metadata["title"] = "a clip"
            base = Fraction(1, 1000)
            container.set_chapters(
                [{"id": 1, "start": 0, "end": 1000, "time_base": base, "metadata": {"title": "one"}}]
            )
        y, x = np.mgrid[:height, :width]
        time = samples = 0
        for index in range(frames):
            picture = 20 + abs(np.stack([x * 2 + index * 3, y * 3, x + y + index], -1) % 400 - 200)
            picture = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 8 * unit)
            frame.duration = (unit, unit // 2, unit + unit // 2)[index % 3] if varying else 1
            time += frame.duration
            container.mux(video.encode(frame))
            while audio is not None and samples * 8 * unit < time * 48000:
                samples += _beep(container, audio, rng, samples)
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def _beep(container: av.container.OutputContainer, audio: av.AudioStream, rng: np.random.Generator, at: int) -> int:
    tone = rng.normal(0, 0.1, (2, 960)).astype(np.float32)
    if audio.codec_context.format.name.startswith("s16"):
        tone = (tone.T.reshape(1, -1) * 32767).astype(np.int16)
        piece = av.AudioFrame.from_ndarray(tone, "s16", "stereo")
    else:
        piece = av.AudioFrame.from_ndarray(tone, "fltp", "stereo")
    piece.sample_rate, piece.pts, piece.time_base = 48000, at, Fraction(1, 48000)
    container.mux(audio.encode(piece))
    return 960


def look_into(path: Path) -> Seen:
    """Decode a whole file, and fail where something in it cannot be decoded."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames: list[av.VideoFrame] = []
        sound: list[tuple[Fraction, bytes]] = []
        subtitles: list[tuple[Fraction, bytes]] = []
        for packet in container.demux():
            if packet.stream.type == "video":
                frames += packet.decode()
            elif packet.size and packet.stream.type in ("audio", "subtitle"):
                kept = sound if packet.stream.type == "audio" else subtitles
                kept.append((packet.pts * packet.time_base, bytes(packet)))
        first = frames[0]
        return Seen(
            frames=[frame.to_ndarray(format="bgr24") for frame in frames],
            times=[frame.pts * frame.time_base for frame in frames],
            end=None if video.duration is None else video.duration * video.time_base,
            sound=sound,
            subtitles=subtitles,
            seconds=container.duration / av.time_base,
            rotation=first.rotation,
            colors=(first.color_range, first.colorspace, first.color_primaries, first.color_trc),
            pixel_shape=video.sample_aspect_ratio,
            chapters=[
                (float(at["start"] * at["time_base"]), float(at["end"] * at["time_base"]), at["metadata"]["title"])
                for at in container.chapters()
            ],
            title=container.metadata.get("title"),
            codec=video.codec_context.codec.canonical_name,
            layout=video.codec_context.pix_fmt,
        )


def damage(path: Path, target: Path, which: int) -> Path:
    """Write a copy in which the data of a frame is nonsense."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        at, size = packets[which].pos, packets[which].size
    data = bytearray(path.read_bytes())
    data[at + size // 3 : at + size] = bytes(size - size // 3)
    target.write_bytes(data)
    return target


def psnr(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Return the PSNR of the worst frame in dB."""
    assert len(a) == len(b)
    errors = [np.mean((x.astype(float) - y) ** 2) for x, y in zip(a, b, strict=True)]
    return 10 * np.log10(255**2 / max(*errors, 1e-9))


def same(frame: np.ndarray) -> np.ndarray:
    """What a cleaner that does nothing gives."""
    return frame


def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What a command told on stderr."""
    return done.stderr.decode().splitlines()
