"""JPEG compression with a random position of the block grid."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cae_train.degradations.noise import Level

GRID = 16  # pixels along a side of the blocks of the colors, where they are subsampled
SAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
             cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)  # fmt: skip
SECOND, CUT = Level(60, 96), 0.5  # of `JpegTwice`: the second quality, and the share that was cut before it


@dataclass(frozen=True)
class Jpeg:
    """JPEG as OpenCV writes it; the level is its quality, 1 to 100, rounded to a whole number.

    Each patch draws where it lies on the grid of blocks, and how its colors are subsampled (4:2:0 half of the time,
    4:2:2, 4:4:4); a gray patch is a gray JPEG. What was left outside 0..1 is clipped, since 8 bits are coded.
    """

    quality: Level

    @property
    def reach(self) -> int:
        """Blocks that lie partly outside a patch are coded with what is there."""
        return GRID

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1) -> decoded, in steps of 1/255."""
        qualities = self.quality.draw(len(clean), generator).flatten().round().int().tolist()
        draws = torch.rand(len(clean), 3, generator=generator).tolist()
        pixels = pixels_of(clean)
        for picture, quality, (sampling, y, x) in zip(pixels, qualities, draws, strict=True):
            picture[:] = coded(
                picture, quality, SAMPLINGS[int(sampling * len(SAMPLINGS))], int(y * GRID), int(x * GRID)
            )
        return values_of(pixels)


@dataclass(frozen=True)
class JpegTwice:
    """JPEG, and JPEG once more, as when a picture is sent on; the level is the quality of the first, 1 to 100.

    The second has a quality of 60 to 96. Half of the patches keep their place on the grid of blocks; the others were
    cropped in between, so that the second grid lies anywhere.
    """

    quality: Level

    @property
    def reach(self) -> int:
        """Blocks that lie partly outside a patch are coded with what is there."""
        return GRID

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1) -> decoded, in steps of 1/255."""
        firsts = self.quality.draw(len(clean), generator).flatten().round().int().tolist()
        seconds = SECOND.draw(len(clean), generator).flatten().round().int().tolist()
        draws = torch.rand(len(clean), 7, generator=generator).tolist()
        pixels = pixels_of(clean)
        for picture, first, second, (one, y, x, moved, two, v, u) in zip(pixels, firsts, seconds, draws, strict=True):
            places = ((y, x), (v, u) if moved < CUT else (y, x))
            for quality, sampling, (top, left) in zip((first, second), (one, two), places, strict=True):
                drawn = SAMPLINGS[int(sampling * len(SAMPLINGS))]
                picture[:] = coded(picture, quality, drawn, int(top * GRID), int(left * GRID))
        return values_of(pixels)


def pixels_of(pictures: Tensor) -> NDArray[np.uint8]:
    """N x C x H x W in 0..1 -> uint8 N x H x W x C, of its own."""
    return pictures.mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def values_of(pixels: NDArray[np.uint8]) -> Tensor:
    """The inverse of `pixels_of`."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


def coded(picture: NDArray[np.uint8], quality: int, sampling: int, top: int, left: int) -> NDArray[np.uint8]:
    """One picture through JPEG and back.

    Args:
        picture: uint8 H x W x C, RGB (C 3) or gray (C 1).
        quality: 1 to 100.
        sampling: a factor of `SAMPLINGS`; gray has no colors to subsample.
        top: rows, and
        left: columns between the corner of JPEG's grid of blocks and that of the picture, reflected into there.

    Returns:
        The same shape.
    """
    gray = picture.shape[2] == 1
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    placed = cv2.copyMakeBorder(picture[:, :, ::-1], top, 0, left, 0, cv2.BORDER_REFLECT_101)
    _, stream = cv2.imencode(".jpg", placed, settings[: 2 if gray else 4])
    decoded = cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - it was coded a line above
    return decoded.reshape(*placed.shape[:2], -1)[top:, left:, ::-1].astype(np.uint8, copy=False)
