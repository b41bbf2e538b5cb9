"""Augmentation of clean patches: varies colors, contrast and size."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SATURATION, GAMMA, CONTRAST = (0.3, 2.5), (0.65, 1.5), (0.5, 1.4)  # factors, drawn log-uniformly
GRAIN_MOST = 12.0  # largest difference of two pixels, summed over 3 channels in 8-bit steps, that counts as grain
NEGATIVE_SHARE = 0.1  # share of the altered patches that become negatives

_PERMUTATIONS = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def drawn_count(share: float, count: int, generator: torch.Generator) -> int:
    """The number of patches in a share of `count`, rounded up or down at random so that the mean is exact."""
    return int(share * count + torch.rand((), generator=generator, dtype=torch.float64))


def jittered(clean: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Alter the colors of a share of the patches; altered patches are rounded to 8 bits.

    Each altered patch gets a random order of channels, saturation, gamma and contrast, or becomes a negative.

    Args:
        clean: float32 N x 3 x H x W in 0..1; changed in place.
        share: 0..1 of the N patches; the last ones are altered.
        generator: the source of all randomness.
    """
    count = drawn_count(share, len(clean), generator) if share else 0
    if not count:
        return clean
    patches = clean[-count:]

    def factor(bounds: tuple[float, float]) -> Tensor:
        low, high = (torch.tensor(bound).log().item() for bound in bounds)
        return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator).exp_()

    order = _PERMUTATIONS.to(clean.device)[torch.randint(6, (count,), generator=generator)]
    altered = torch.take_along_dim(patches, order[:, :, None, None], 1)
    gray = altered.mean(1, keepdim=True)
    altered = (gray + (altered - gray) * factor(SATURATION)).clamp_(0, 1) ** factor(GAMMA)
    middle = altered.mean((1, 2, 3), keepdim=True)
    altered = (middle + (altered - middle) * factor(CONTRAST)).clamp_(0, 1)
    negative = torch.rand(count, 1, 1, 1, generator=generator) < NEGATIVE_SHARE
    altered = torch.where(negative, 1 - altered, altered)
    clean[-count:] = altered.mul_(255).round_().div_(255)
    return clean


def without_grain(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove the faint grain (film, sensor, JPEG) of a patch, H x W x C; edges and stronger texture stay.

    "Clean" photographs have some grain: a network trained to restore it would leave a camera's faint noise alone.
    A bilateral filter (Tomasi and Manduchi, ICCV 1998).
    """
    grain = GRAIN_MOST * patch.shape[2] / 3
    # In gray integers OpenCV cuts off the fraction, which darkens by half a level; in color it rounds.
    values = patch.astype(np.float32) if patch.shape[2] == 1 else patch
    filtered = np.rint(cv2.bilateralFilter(values, d=5, sigmaColor=grain, sigmaSpace=2))
    return filtered.reshape(patch.shape).astype(np.uint8)  # OpenCV drops a last axis of length 1


def smaller(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Shrink an image, H x W x C, to `scale` of its sides (0 < scale <= 1), by the mean of each pixel's area."""
    if scale == 1:
        return image
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return reduced.reshape(*reduced.shape[:2], image.shape[2]).astype(np.uint8, copy=False)  # an axis of 1 is dropped
