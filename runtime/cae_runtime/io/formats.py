"""Image and video formats by name and suffix; needs no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from cae_runtime.errors import UsageError

JPEG: Final = "JPEG"
PNG: Final = "PNG"
WEBP: Final = "WebP"
TIFF: Final = "TIFF"
BMP: Final = "BMP"
PPM: Final = "PPM"
PGM: Final = "PGM"
PBM: Final = "PBM"  # 1 bit: is read, and never written, since cleaned pictures have levels of gray
AVIF: Final = "AVIF"
HEIC: Final = "HEIC"
JP2: Final = "JPEG 2000"
J2K: Final = "JPEG 2000 codestream"  # without the boxes around it
GIF: Final = "GIF"  # is read, and never written
RAW: Final = "camera raw"  # is developed, and never written

PIPE: Final = "-"  # as SOURCE stdin, as OUT stdout

FORMAT_OF_SUFFIX: Final = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".jpe": JPEG,
    ".jfif": JPEG,
    ".png": PNG,
    ".webp": WEBP,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".bmp": BMP,
    ".ppm": PPM,
    ".pgm": PGM,
    ".avif": AVIF,
    ".heic": HEIC,
    ".heif": HEIC,
    ".hif": HEIC,
    ".jp2": JP2,
    ".j2k": J2K,
    ".j2c": J2K,
    ".jpc": J2K,
}
RAW_SUFFIXES: Final = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
# Suffixes of files that are read and never written -> the suffix of their outputs, unless another is chosen.
WRITTEN_AS: Final = {**dict.fromkeys(RAW_SUFFIXES, ".tif"), ".gif": ".webp", ".pbm": ".pgm"}
READ_ONLY: Final = {PBM: PGM, GIF: WEBP, RAW: TIFF}  # formats that are read and never written -> that of their outputs
# What is read, for messages.
NAMES_READ: Final = (*dict.fromkeys(name.removesuffix(" codestream") for name in FORMAT_OF_SUFFIX.values()), *READ_ONLY)
SUFFIXES_READ: Final = (*FORMAT_OF_SUFFIX, *(suffix for suffix in WRITTEN_AS if suffix not in RAW_SUFFIXES))
SUFFIX_OF_FORMAT: Final = {format: suffix for suffix, format in reversed(FORMAT_OF_SUFFIX.items())}

MP4: Final = "MP4"
MOV: Final = "MOV"
MATROSKA: Final = "Matroska"
WEBM: Final = "WebM"
AVI: Final = "AVI"

VIDEO_FORMAT_OF_SUFFIX: Final = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": MOV,
    ".mkv": MATROSKA,
    ".webm": WEBM,
    ".avi": AVI,
}
# The codecs of each container; the first is the default.
CODECS_OF_FORMAT: Final = {
    MP4: ("h264", "h265", "vp9", "av1"),
    MOV: ("h264", "h265"),
    MATROSKA: ("h264", "h265", "vp9", "av1"),
    WEBM: ("vp9", "av1"),
    AVI: ("h264",),
}
CODECS: Final = CODECS_OF_FORMAT[MATROSKA]
CRF_MAX: Final = {"h264": 51, "h265": 51, "vp9": 63, "av1": 63}
_ANY_CHROMA: Final = ("yuv420p", "yuv422p", "yuv444p")
TEN_BITS: Final = "10le"  # how the names of pixel formats of 10 bits end
# Of those of 10 bits that encoders take, the ones that players take too.
PIXEL_FORMATS: Final = {
    "h264": _ANY_CHROMA,
    "h265": (*_ANY_CHROMA, *(f"{name}{TEN_BITS}" for name in _ANY_CHROMA)),
    "vp9": _ANY_CHROMA,
    "av1": ("yuv420p", f"yuv420p{TEN_BITS}"),
}
SMALLEST: Final = {"h264": (1, 1), "h265": (16, 16), "vp9": (1, 1), "av1": (5, 4)}  # width, height that are encoded


class Named(Protocol):
    """A path or an address."""

    @property
    def suffix(self) -> str:
        """The end of the name, such as `.jpg`."""


@dataclass(frozen=True)
class VideoCoding:
    """How a video is encoded; None leaves the choice to the format and the source.

    Attributes:
        codec: `h264`, `h265`, `vp9` or `av1`.
        crf: constant rate factor, lower is better: 0..51, for vp9 and av1 0..63.
        pixel_format: `yuv420p`, `yuv422p` or `yuv444p`; for 10 bits `yuv420p10le`, `yuv422p10le` or `yuv444p10le`.
    """

    codec: str | None = None
    crf: int | None = None
    pixel_format: str | None = None

    def codec_in(self, format: str, deep: bool) -> str:
        """Return the codec in a container: the chosen one, or the first one that suits.

        Args:
            format: the container.
            deep: whether the source has more than 8 bits.
        """
        if self.codec is not None:
            return self.codec
        codecs = CODECS_OF_FORMAT[format]
        ten_bits = self.pixel_format.endswith(TEN_BITS) if self.pixel_format else deep
        return next((codec for codec in codecs if ten_bits and holds_ten_bits(codec)), codecs[0])

    def keeps_ten_bits(self, format: str) -> bool:
        """Return whether a source of more than 8 bits is written with 10 in a container."""
        if self.pixel_format is not None and not self.pixel_format.endswith(TEN_BITS):
            return False
        return holds_ten_bits(self.codec_in(format, deep=True))


def holds_ten_bits(codec: str) -> bool:
    """Return whether a video codec is written with 10 bits, so that usual players show it."""
    return any(name.endswith(TEN_BITS) for name in PIXEL_FORMATS[codec])


def is_video(path: Named) -> bool:
    """Return whether a file has the suffix of a video."""
    return path.suffix.lower() in VIDEO_FORMAT_OF_SUFFIX


def is_raw(path: Named) -> bool:
    """Return whether a file has the suffix of a camera raw file."""
    return path.suffix.lower() in RAW_SUFFIXES


def is_read_only(path: Named) -> bool:
    """Return whether a file has the suffix of an image that is read and never written."""
    return path.suffix.lower() in WRITTEN_AS


def is_picture(path: Named) -> bool:
    """Return whether a file has the suffix of an image or a video that is read."""
    return is_written(path) or is_read_only(path)


def is_written(path: Named) -> bool:
    """Return whether a file has the suffix of an image or a video that is written."""
    return path.suffix.lower() in FORMAT_OF_SUFFIX or is_video(path)


def known_suffix(name: str, ext: str) -> str:
    """Return the suffix of an image or video format that was typed with or without a dot, such as `.png` for `PNG`.

    Args:
        name: what was typed, for the message.
        ext: its value.

    Raises:
        UsageError: there is no such format.
    """
    dotted = f".{ext.removeprefix('.').lower()}"
    known = FORMAT_OF_SUFFIX | VIDEO_FORMAT_OF_SUFFIX
    if dotted not in known:
        raise UsageError(f"{name} is {ext!r}: it must be one of {', '.join(each[1:] for each in known)}")
    return dotted


def same_format(suffix: str, other: str) -> bool:
    """Return whether two suffixes, such as `.jpg` and `.JPEG`, name the same format."""
    known = FORMAT_OF_SUFFIX | VIDEO_FORMAT_OF_SUFFIX
    return known.get(suffix.lower()) == known.get(other.lower())


def format_written(format: str) -> str:
    """Return the format in which an image of a format is written, unless another is chosen."""
    return READ_ONLY.get(format, format)


_VIDEO_STARTS: Final = {4: (b"ftyp", b"moov", b"mdat", b"wide"), 0: (b"\x1a\x45\xdf\xa3", b"RIFF")}


def starts_like_a_video(start: bytes) -> bool:
    """Return whether a file begins like a supported container: MP4, MOV, Matroska, WebM or AVI."""
    return any(start[at:].startswith(words) for at, words in _VIDEO_STARTS.items())
