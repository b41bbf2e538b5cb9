"""Holes for inpainting in the shape of what people remove: lettering, and scratches across a picture.

All of it is tensor operations, so that it works on the device of the patches.
"""

from dataclasses import dataclass
from functools import cache
from math import pi

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cae_train.degradations.mask import Mask, fill_color

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)  # fmt: skip
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz.,:;!?&@#-   "
PAGES, PAGE = 96, 256  # pages of lettering that patches are cut from, and their side in pixels
HEIGHTS = (6, 30)  # of capital letters, in pixels
WIDTHS = (0.5, 4.5)  # of scratches, in pixels
BEND = 0.02  # largest curvature of a scratch, 1 / its radius in pixels
MOST = 24  # shapes in a patch


@dataclass(frozen=True)
class Marks(Mask):
    """Shapes that are cut off by the edges of a patch, drawn until they cover the given share of it or a bit more."""

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W -> the same, with the holes `FILL`; C is 1 or 3."""
        count, channels, height, width = clean.shape
        share = self.share.draw(count, generator).flatten()
        missing = torch.zeros(count, height, width, dtype=torch.bool, device=clean.device)
        for _ in range(MOST):
            left = torch.nonzero(missing.float().mean((1, 2)) < share)[:, 0]
            if not len(left):
                break
            missing[left] |= self.shapes(len(left), height, width, generator)
        return torch.where(missing[:, None], fill_color(channels).to(clean.device), clean)

    def shapes(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """One more shape for each of `count` patches, bool N x H x W on the device of the generator."""
        raise NotImplementedError


class Letters(Marks):
    """Pieces of lines of text, in fonts of any size and thickness."""

    def shapes(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Cut a place of a page of text for each patch, bool N x H x W."""
        device = generator.device
        page, top, left = torch.randint(PAGES * PAGE * PAGE, (3, count), generator=generator, device=device)
        rows = (top[:, None] + torch.arange(height, device=device)) % PAGE
        columns = (left[:, None] + torch.arange(width, device=device)) % PAGE
        return _pages(device)[page[:, None, None] % PAGES, rows[:, :, None], columns[:, None, :]]


class Scratches(Marks):
    """Lines across the whole patch, straight or a little bent."""

    def shapes(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw a line through a random point of each patch, bool N x H x W."""
        draws = torch.rand(6, count, 1, 1, generator=generator, device=generator.device)
        heading, bend = draws[0] * pi, (2 * draws[1] - 1) * BEND * (draws[2] < 0.5)
        wide = WIDTHS[0] + draws[3] * (WIDTHS[1] - WIDTHS[0])
        y = torch.arange(height, device=generator.device)[:, None] - draws[4] * (height - 1)
        x = torch.arange(width, device=generator.device) - draws[5] * (width - 1)
        along, away = x * heading.cos() + y * heading.sin(), y * heading.cos() - x * heading.sin()
        return (away - bend / 2 * along.square()).abs() <= wide / 2


@cache
def _pages(device: torch.device) -> Tensor:
    """Pages of text, always the same, bool `PAGES` x `PAGE` x `PAGE`."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([_page(rng) for _ in range(PAGES)])).to(device) > 0


def _page(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A page of random words in one font, size and thickness, uint8 `PAGE` x `PAGE`, 1 where there is a letter."""
    page = np.zeros((PAGE, PAGE), np.uint8)
    font, tall = FONTS[int(rng.integers(len(FONTS)))], rng.uniform(*HEIGHTS)
    thick = 1 + int(rng.random() * min(4.0, tall / 5))
    scale = cv2.getFontScaleFromHeight(font, round(tall), thick)
    baseline, spacing = tall, tall * rng.uniform(1.3, 2)
    while baseline < PAGE + tall:
        words = "".join(CHARACTERS[place] for place in rng.integers(len(CHARACTERS), size=96))
        cv2.putText(page, words, (-int(rng.integers(20)), round(baseline)), font, scale, 1, thick)
        baseline += spacing
    return page
