"""Finds damaged frames of VP9 videos: libvpx notices, unlike FFmpeg's own decoder, where the data of a frame ends.

After a damaged frame libvpx decodes nothing until the next key frame. So the pictures come from FFmpeg's decoder, and
libvpx only judges. It takes about as much time as FFmpeg's, a few percent of that of a network.
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
_LAYOUTS: Final = {"yuv420p", "yuv422p", "yuv440p", "yuv444p", "gbrp"}  # PyAV's libvpx does not decode more bits


class Vp9Judge:
    """Decodes the packets of a stream beside its decoder, if they are VP9 of 8 bits; otherwise finds no damage.

    Args:
        context: the stream's decoder.
        options: of the decoder, such as limits.
    """

    def __init__(self, context: VideoCodecContext, options: Mapping[str, str]) -> None:
        self._decoder: VideoCodecContext | None = None
        self._follows = False  # whether the next packet can be decoded, as all since a key frame could
        self._found = False
        if context.name != "vp9" or context.pix_fmt not in _LAYOUTS:
            return
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # of a PyAV that was built without libvpx
            self._decoder = av.CodecContext.create(_DECODER, "r")
            self._decoder.options, self._decoder.thread_count = dict(options), 1

    def look_at(self, packet: Packet[VideoStream]) -> None:
        """Judge the next packet; from a damaged one to a key frame nothing is known."""
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
        """Return whether a packet was damaged since this was last asked."""
        found, self._found = self._found, False
        return found
