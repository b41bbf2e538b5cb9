"""The image formats by name and suffix: known without opening a file or importing a decoder."""

from __future__ import annotations

from typing import Final

JPEG: Final = "JPEG"
PNG: Final = "PNG"
WEBP: Final = "WebP"
TIFF: Final = "TIFF"
BMP: Final = "BMP"

PIPE: Final = "-"  # as SOURCE stdin, as OUT stdout

FORMAT_OF_SUFFIX: Final = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".png": PNG,
    ".webp": WEBP,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".bmp": BMP,
}
SUFFIX_OF_FORMAT: Final = {format: suffix for suffix, format in reversed(FORMAT_OF_SUFFIX.items())}
