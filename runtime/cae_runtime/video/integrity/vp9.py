"""Finds damaged frames of VP9 videos with libvpx, which, unlike FFmpeg's own decoder, checks where a frame's data ends.

After a damaged frame, libvpx decodes nothing until the next key frame. So the pictures come from FFmpeg's decoder, and
libvpx only checks. This takes about as long as FFmpeg's decoding, a few percent of the time of a network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_DECODER: Final = "libvpx-vp9"
_LAYOUTS: Final = {"yuv420p", "yuv422p", "yuv440p", "yuv444p", "gbrp"}  # PyAV's libvpx decodes only 8 bits


class Vp9Judge:
    """Decodes the packets of an 8-bit VP9 stream a second time; for other streams, it finds no damage.

    Args:
        context: the stream's decoder.
        options: options of the decoder, such as limits.
    """

    def __init__(self, context: VideoCodecContext, options: Mapping[str, str]) -> None:
        self._decoder: VideoCodecContext | None = None
        self._follows = False  # whether all packets since a key frame could be decoded
        self._found = False
        if context.name != "vp9" or context.pix_fmt not in _LAYOUTS:
            return
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # PyAV was built without libvpx
            self._decoder = av.CodecContext.create(_DECODER, "r")
            self._decoder.options, self._decoder.thread_count = dict(options), 1

    def look_at(self, packet: Packet[VideoStream]) -> None:
        """Check the next packet; between a damaged packet and the next key frame, nothing can be checked."""
        if self._decoder is None or not packet.size or not (self._follows or packet.is_keyframe):
            return
        try:
            self._decoder.decode(packet)
            self._follows = True
        except av.FFmpegError as e:
            if isinstance(e, MemoryError):
                raise
            self._follows, self._found = False, True

    def found_damage(self) -> bool:
        """Return whether a packet was damaged since the last call."""
        found, self._found = self._found, False
        return found
