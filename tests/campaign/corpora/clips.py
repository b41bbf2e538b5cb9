"""Honest clips of every container and codec that is read, a stream, and playlists that are named like clips."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from tests.campaign.mutations.parts import BOXES
from tests.runtime.clips import make_clip

from cae_train.stderr import quiet_decoders

SIZE: Final = (48, 32)
# The macroblock tree of x265 writes past its memory in narrow frames.
_X265: Final = {"x265-params": "log-level=none:no-cutree=1"}
_ALIKE: Final = 3.0  # levels of 255
_CLIPS: Final[dict[str, dict[str, Any]]] = {
    "h264.mp4": {"sound": "aac", "dress": True},
    "h264.mov": {"options": {"g": "3"}},
    "hevc.mp4": {"codec": "libx265", "layout": "yuv420p10le", "options": _X265},
    "av1.mp4": {"codec": "libsvtav1", "size": (64, 64)},
    "h264.mkv": {"sound": "libopus", "varying": True},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "vp8.webm": {"codec": "libvpx"},
    "mpeg4.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "mjpeg.avi": {"codec": "mjpeg", "layout": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1"},
    "prores.mov": {"codec": "prores_ks", "layout": "yuv422p10le"},
}


def clips() -> dict[str, bytes]:
    """Return clips by name; those whose encoder this build of FFmpeg lacks are left out."""
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in _CLIPS.items():
            path = Path(folder) / name
            try:
                with quiet_decoders():  # SVT-AV1 tells of its settings
                    make_clip(path, **{"frames": 5, "size": SIZE} | options)
            except (av.FFmpegError, ValueError):
                continue
            made[name] = path.read_bytes()
    return made


class Frames:
    """The frames of a video file; two are equal if they look alike: x264 makes other files of the same frames.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            self.frames = [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in container.decode(video=0)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frames) or len(self.frames) != len(other.frames):
            return False
        pairs = [*zip(self.frames, other.frames, strict=True)]
        return all(a.shape == b.shape and np.abs(a - b).mean() < _ALIKE for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def stream() -> bytes:
    """Return a yuv4mpeg stream of three frames."""
    width, height = SIZE
    frame = np.random.default_rng(3).integers(16, 235, width * height * 3 // 2, np.uint8).tobytes()
    return b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n" % SIZE + (b"FRAME\n" + frame) * 3


def playlists(secret: str, port: int, honest: bytes) -> dict[str, bytes]:
    """Return files that lead a careless player to others: to a file, and to a port of this computer.

    Args:
        secret: a clip that nothing may open.
        port: a port that nothing may connect to.
        honest: an MP4.
    """
    address = f"http://127.0.0.1:{port}/a.mp4"
    texts: dict[str, str] = {}
    for target in (
        secret,
        f"file://{secret}",
        address,
        f"concat:{secret}|{secret}",
        f"crypto+file:{secret}",
        f"data:,{secret}",
    ):
        texts |= {
            f"hls {target}": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
            f"key {target}": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:1,\n{target}\n',
            f"map {target}": f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n',
            f"concat {target}": f"ffconcat version 1.0\nfile '{target}'\n",
            f"sdp {target}": f"v=0\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=control:{target}\n",
            f"dash {target}": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>',
            f"asx {target}": f'<asx><entry><ref href="{target}"/></entry></asx>',
            f"ram {target}": f"{target}\n",
        }  # fmt: skip
    files = {name: text.encode() for name, text in texts.items()}
    return files | {f"reference {at}": _with_reference(honest, secret, at) for at in range(2)}


def _with_reference(data: bytes, secret: str, kind: int) -> bytes:
    """Return an MP4 whose samples lie in another file, as its data reference says."""

    def changed(content: bytes, names: list[bytes]) -> bytes:
        parts = BOXES.split(content)
        for at, (name, inner) in enumerate(parts):
            if name == b"dref":
                url = secret.encode() + b"\0"
                entry = b"url \0\0\0\0" + url if kind == 0 else b"alis\0\0\0\0" + bytes(150) + url
                parts[at] = (name, inner[:8] + (len(entry) + 4).to_bytes(4, "big") + entry)
            elif name in names:
                parts[at] = (name, changed(inner, names))
        return BOXES.join(parts)

    return changed(data, [b"moov", b"trak", b"mdia", b"minf", b"dinf"])
