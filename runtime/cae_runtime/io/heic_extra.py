"""Reads and writes HEIC with the extra `heif` (pillow-heif, which brings libheif, libde265 and x265)."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError
from cae_runtime.io.arrays import in_bits, in_sixteen_bits
from cae_runtime.io.metadata.record import Metadata

INSTALL: Final = "pip install 'cae-toolkit[heif]' (in a checkout: pip install -e '.[heif]')"
MISSING: Final = f"is a HEIC. The extra heif reads and writes it: {INSTALL}"
_MODES: Final = {1: "L", 2: "LA", 3: "BGR", 4: "BGRA"}  # of so many channels
_GRAY_16: Final = "I"  # as Pillow calls it
_MATRIX: Final = 6  # between RGB and YCbCr: that of JPEG
_PRESET: Final = "superfast"  # of x265: at these qualities slower ones gain 0.1 dB in more than twice the time
_BITS: Final = 10  # of pictures with 16 bits, unless their source had 12


def is_installed() -> bool:
    """Return whether the extra is installed."""
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


def bits_of(bits: int) -> int:
    """Return the number of bits with which a 16-bit picture is written if its source had `bits`."""
    return 12 if bits == 12 else _BITS


def decode(data: bytes, bits: int) -> NDArray[Any]:
    """Decode a HEIC.

    Args:
        data: the whole file.
        bits: bits of each value, as the file says.

    Returns:
        The pixels as shown, turned and cut as the file says: uint8, or uint16 in 0..65535 for more than 8 bits; (H, W),
        (H, W, 2) gray and alpha, (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        ImageError: the extra is missing, or the file is damaged.
    """
    if not is_installed():
        raise ImageError(MISSING)
    import pillow_heif

    try:
        picture = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, bgr_mode=True)
        pixels = np.array(np.asarray(picture))
        mode = picture.mode
    except MemoryError:
        raise
    except Exception as e:  # libheif's errors come as any of several types
        raise ImageError("cannot be decoded: its HEIC data is damaged, or parts of it are missing") from e
    if mode.partition(";")[0] not in {*_MODES.values(), _GRAY_16}:
        raise ImageError(f"has pixels in a format that is not read ({mode})")
    if pixels.dtype == np.uint16:  # libheif's values, shifted to 16 bits
        pixels = in_sixteen_bits((pixels >> (16 - bits)).astype(np.uint16), bits)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def encode(pixels: NDArray[Any], metadata: Metadata, quality: int, bits: int) -> bytes:
    """Encode a HEIC with its metadata.

    Many decoders, such as those of phones, take halved color resolution only: the full one is written where the source
    is a HEIC that has it.

    Args:
        pixels: as `decode` returns them.
        metadata: its EXIF block, XMP, color profile and color description are written; `chroma` counts.
        quality: 1..100.
        bits: of the values of uint16 pixels: 10 or 12.

    Raises:
        ImageError: the extra is missing, or libheif refuses the picture.
    """
    if not is_installed():
        raise ImageError(f"cannot be written as HEIC without the extra heif: {INSTALL}")
    import pillow_heif

    mode = _MODES[1 if pixels.ndim == 2 else pixels.shape[2]]
    options: dict[str, Any] = {"enc_params": {"preset": _PRESET}}
    if pixels.dtype == np.uint16:
        mode, options = f"{mode};{bits}", options | {"bit_depth": bits}
        pixels = in_bits(pixels, bits)
    if metadata.cicp:
        primaries, transfer = metadata.cicp
        options |= {
            "color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": _MATRIX,
            "full_range_flag": 1,
        }  # fmt: skip
    blocks = {"exif": metadata.exif and b"Exif\0\0" + metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    options |= {name: block for name, block in blocks.items() if block}
    height, width = pixels.shape[:2]
    target = io.BytesIO()
    try:
        data = np.ascontiguousarray(pixels).tobytes()
        pillow_heif.encode(mode, (width, height), data, target, quality=quality, chroma=metadata.chroma, **options)
    except MemoryError:
        raise
    except Exception as e:  # as above
        raise ImageError(f"cannot be encoded as HEIC with {width}x{height} pixels: {e}") from e
    return target.getvalue()
