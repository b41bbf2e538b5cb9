"""Pictures in the memory of a device; flipped and rotated crops of them are read in one indexing operation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cae_train.data.images import Image


class Pictures:
    """Images in a device's memory, one after the other.

    Args:
        images: at least one, uint8 H x W x C; sizes may differ, C may not. They are copied.
        device: the device.
    """

    def __init__(self, images: Sequence[Image], device: torch.device) -> None:
        channels = images[0].shape[2]
        sizes = torch.tensor([image.shape[:2] for image in images])  # I x 2
        pixels = np.concatenate([image.reshape(-1, channels) for image in images])
        self.pixels = torch.from_numpy(pixels).to(device)  # all pixels x C
        self.sizes = sizes.to(device)
        ends = sizes.prod(1).cumsum(0)
        self.begins = (ends - sizes.prod(1)).to(device)
        self.ends = ends.to(device)

    def by_area(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw image numbers, int64 `count`; the probability of an image is proportional to its area."""
        total = len(self.pixels)
        places = torch.rand(count, generator=generator, device=self.pixels.device, dtype=torch.float64) * total
        return torch.searchsorted(self.ends, places.long(), right=True)

    def crops(self, chosen: Tensor, patch: int, margin: int, upright: bool, generator: torch.Generator) -> Tensor:
        """A random patch of each of the chosen images, with `margin` pixels around it.

        Args:
            chosen: int64 N, numbers of images.
            patch: height and width of a patch in pixels; no chosen image may be smaller.
            margin: pixels around the patch; beyond its edges, an image is reflected.
            upright: whether patches are neither flipped nor rotated by multiples of 90 degrees.
            generator: the source of all randomness.

        Returns:
            uint8 N x C x S x S with S = `patch` + 2 `margin`.
        """
        device, side = self.pixels.device, patch + 2 * margin
        sizes = self.sizes[chosen]
        draws = torch.rand(len(chosen), 3, generator=generator, device=device, dtype=torch.float64)
        corner = (draws[:, :2] * (sizes - patch + 1)).long()
        turn = (draws[:, 2] * (not upright) * 8).long()
        line = torch.arange(side, device=device).expand(len(chosen), side)
        rows = torch.where((turn & 2 > 0)[:, None], side - 1 - line, line) + corner[:, :1] - margin
        columns = torch.where((turn & 1 > 0)[:, None], side - 1 - line, line) + corner[:, 1:] - margin
        height, width = sizes[:, :1], sizes[:, 1:]
        rows, columns = _reflected(rows, height) * width, _reflected(columns, width)
        turned = (turn & 4 > 0)[:, None, None]
        down = torch.where(turned, columns[:, :, None], rows[:, :, None])
        across = torch.where(turned, rows[:, None], columns[:, None])
        places = self.begins[chosen][:, None, None] + down + across
        return self.pixels[places].permute(0, 3, 1, 2)


def _reflected(places: Tensor, length: Tensor) -> Tensor:
    """Positions on lines of `length` pixels; outside a line, they are reflected at its ends until they are inside."""
    period = (2 * length - 2).clamp_min(1)
    places = places.remainder(period)
    return torch.minimum(places, period - places).minimum(length - 1)
