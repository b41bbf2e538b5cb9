"""Images and videos in formats that are not read, recognized by name and content so that they are reported."""

from __future__ import annotations

import re
from typing import Final

from cae_runtime.places.address import Address, Place
from cae_shared.text import shell_word

_OTHERS: Final = frozenset({
    ".bpg", ".dcm", ".dds", ".exr", ".fit", ".fits", ".fts", ".hdr", ".ico",
    ".jng", ".jpf", ".jpx", ".jxl", ".jxr", ".pam", ".pcx", ".pfm", ".psb", ".psd", ".qoi", ".tga",
    ".wdp", ".xcf",
})  # fmt: skip
_VIDEOS: Final = frozenset({  # without .mod, which is also go.mod
    ".3g2", ".3gp", ".asf", ".braw", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mjpg", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".r3d", ".rmvb", ".vob", ".wmv", ".y4m",
})  # fmt: skip
_TRANSPORT_STREAM, _PACKET, _SYNC = ".ts", 188, b"\x47"  # the suffix is also that of TypeScript: its content tells
SUFFIXES: Final = _OTHERS | _VIDEOS
# Files that operating systems put into folders; names that begin with a dot are left out anyway.
OF_SYSTEMS: Final = frozenset({"desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r"})
_CONVERT: Final = "convert it to PNG or TIFF first (ImageMagick: magick {source} {output})"
_CONVERT_VIDEO: Final = "convert it first (ffmpeg -i {source} -c:v copy {output})"
_UNLIKE_A_NAME: Final = re.compile(r"^[-@]|:")  # ImageMagick would read it as an option, a list or a format
_STARTS: Final = (
    (0, b"8BPS", "Photoshop file"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
)


def is_other_picture(path: Place) -> bool:
    """Return whether a file is an image or video in a format that is not read, by its suffix (.ts: and its content)."""
    return path.suffix.lower() in SUFFIXES or is_transport_stream(path)


def is_transport_stream(path: Place) -> bool:
    """Return whether a .ts file is an MPEG transport stream; False if the file cannot be read."""
    try:
        return begins_as_stream(path)
    except OSError:
        return False


def begins_as_stream(path: Place) -> bool:
    """Return whether a .ts file is an MPEG transport stream: its packets of 188 bytes begin with 0x47.

    A store is asked only for files that are made of whole packets, as far as their sizes are known.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix.lower() != _TRANSPORT_STREAM:
        return False
    if isinstance(path, Address):
        from cae_runtime.places.starts import start_of

        if path.size is not None and (path.size <= _PACKET or path.size % _PACKET):
            return False
        start = start_of(path, _PACKET + 1)
    elif not path.is_file():
        return False
    else:
        with path.open("rb") as file:
            start = file.read(_PACKET + 1)
    return start[:1] == start[_PACKET:] == _SYNC


def what_to_do(path: Place) -> str:
    """Return why an image or video with such a suffix is not read, and what the user can do."""
    suffix = path.suffix.lower()
    video = suffix in _VIDEOS or suffix == _TRANSPORT_STREAM
    names = (path.name, f"{path.stem}.{'mkv' if video else 'png'}")
    source, output = (shell_word(f"./{name}" if _UNLIKE_A_NAME.search(name) else name) for name in names)
    advice = (_CONVERT_VIDEO if video else _CONVERT).format(source=source, output=output)
    return f"is {'a video' if video else 'an image'} in a format that is not read ({suffix}): {advice}"


def kind_of(data: bytes) -> str:
    """Return which kind of image a file's first bytes belong to; empty if unknown."""
    return next((kind for at, start, kind in _STARTS if data[at : at + len(start)] == start), "")
