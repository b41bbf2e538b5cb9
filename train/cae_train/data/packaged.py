"""Packaged files: the weights of `denoise`, and patches of photographs."""

from pathlib import Path

from cae_train.config import PATCH
from cae_train.data.images import Split, read_rgb, with_channels

DENOISE = Path(__file__).parents[1] / "denoise.pt"
PATCHES = Path(__file__).parents[1] / "patches.webp"


def photographs(channels: int = 3) -> Split:
    """1,024 patches, 32x32, of public-domain and CC0 photographs; every other one is for training or calibration."""
    sheet = read_rgb(PATCHES)
    assert sheet is not None  # noqa: S101 - package data
    sheet = with_channels(sheet, channels)
    rows, columns = sheet.shape[0] // PATCH, sheet.shape[1] // PATCH
    grid = sheet.reshape(rows, PATCH, columns, PATCH, channels).swapaxes(1, 2).reshape(-1, PATCH, PATCH, channels)
    return Split(train=list(grid[::2]), validation=list(grid[1::2]))
