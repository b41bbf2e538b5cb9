"""LibRaw, through the extra `raw` (rawpy)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError

if TYPE_CHECKING:
    import rawpy

INSTALL: Final = "pip install 'cae-toolkit[raw]' (in a checkout: pip install -e '.[raw]')"
MISSING: Final = f"is a camera's raw file. The extra raw develops it: {INSTALL}"
_CLIPPED: Final = 0.001  # share of the pixels that may become white where LibRaw brightens the picture
_SIDEWAYS: Final = {5, 6}  # LibRaw's flips by a quarter turn


def is_installed() -> bool:
    """Return whether the extra is installed."""
    try:
        import rawpy  # noqa: F401
    except ImportError:
        return False
    return True


def sizes(data: bytes) -> tuple[int, int, int]:
    """Return the width and height of the developed picture, and the number of photosites behind it.

    Raises:
        ImageError: the extra is missing, or LibRaw does not know the file.
    """
    with _opened(data) as raw:
        found = raw.sizes
        sides = (found.iheight, found.iwidth) if found.flip in _SIDEWAYS else (found.iwidth, found.iheight)
        return *sides, found.raw_width * found.raw_height


def develop(data: bytes) -> NDArray[np.uint16]:
    """Develop a raw file: the camera's white balance, sRGB, 16 bits.

    Args:
        data: the whole file.

    Returns:
        Upright pixels, shape (H, W, 3), BGR.

    Raises:
        ImageError: the extra is missing, or the file is damaged.
    """
    with _opened(data) as raw:
        developed: NDArray[Any] = raw.postprocess(use_camera_wb=True, output_bps=16, auto_bright_thr=_CLIPPED)
    if developed.ndim != 3 or developed.shape[2] != 3 or developed.dtype != np.uint16:
        raise ImageError("is a camera's raw file without colors, which is not read")
    return np.ascontiguousarray(developed[..., ::-1])


@contextmanager
def _opened(data: bytes) -> Iterator[rawpy.RawPy]:
    if not is_installed():
        raise ImageError(MISSING)
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError) as e:
        raise ImageError("is a camera's raw file that LibRaw does not know: develop it with another program") from e
    except rawpy.LibRawUnsufficientMemoryError as e:
        raise MemoryError from e
    except rawpy.LibRawError as e:
        raise ImageError("cannot be developed: its raw data is damaged, or parts of it are missing") from e
