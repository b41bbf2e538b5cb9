"""A simulated camera: the noise of its sensor after the camera's processing.

What the processing does to the picture itself (demosaicing softens it, a tone curve bends it) is taken out: the noisy
patch is the clean one plus what the noise becomes at the end of the pipeline, to first order, so that its mean is zero
and no color shifts. So a network learns to remove a camera's noise, not to undo its look. Only JPEG acts on both,
since its errors depend on both.

Sources: unprocessing to raw and shot and read noise, Brooks et al. (CVPR 2019); noise through the whole pipeline, with
JPEG at its end, Guo et al. (CBDNet, CVPR 2019); demosaicing, Malvar, He and Cutler (ICASSP 2004).
"""

from dataclasses import dataclass
from math import log

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.degradations.jpeg import GRID, SAMPLINGS, coded, pixels_of, values_of
from cae_train.degradations.noise import Level

MARGIN = 8  # margin around a patch, in pixels, for filters and JPEG blocks that cross its edge
SHOT = (2e-5, 2e-2)  # variance of the raw value 1 at the lowest and the highest sensitivity, log-uniform between
READ_SLOPE, READ_OFFSET, READ_SPREAD = 2.18, 1.2, 0.26  # log variance of read noise beside that of shot noise
TOE, GAMMA = 0.1, 2.4  # tone curve: linear = ((value + TOE) / (1 + TOE)) ** GAMMA
GRAINS = (1.0, 1.0, 1.4, 2.0)  # pixels of the picture to one of the camera: enlarged pictures have a coarser grain
JPEG_SHARE, JPEG_QUALITY = 0.6, (45, 98)
LEAST_SIGMA = 0.2  # a filter with a smaller sigma in pixels does nothing
WIDE_SIGMA = 2.5  # sigma in pixels of the wide filter of the brightness

LUMA = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
FROM_LUMA = torch.linalg.inv(LUMA)
NO_NOISE = 1e-6  # standard deviation that stands for no noise at all
HOT_LEAST = 20 / 255  # by which a hot pixel is brighter at least


@dataclass(frozen=True)
class Filters:
    """How strongly a camera smooths its noise: (smallest sigma, largest sigma, share of patches that are smoothed).

    Attributes:
        brightness: of the brightness, in pixels, before it is sharpened.
        color: of the colors; never less than that of the brightness.
        keep_strength: whether filtered noise is made as strong again as it was; that of the colors half as much, in dB.
    """

    brightness: tuple[float, float, float] = (0.0, 1.0, 0.6)
    color: tuple[float, float, float] = (0.0, 3.5, 0.7)
    keep_strength: bool = False


USUAL = Filters()
SOFT = Filters((0.5, 1.25, 0.85), (0.8, 5.0, 0.85), keep_strength=True)  # closer to what real cameras were seen to do


@dataclass(frozen=True)
class Camera:
    """Noise of a camera; the level is its sensitivity, 0 (bright daylight) to 1 (near darkness)."""

    sensitivity: Level
    filters: Filters = USUAL

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1; H and W above 8) -> the same with noise, not clipped."""
        gray = clean.shape[1] == 1
        rgb = clean.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()  # one layout: mixed ones cost twice the time
        wide = F.pad(rgb, (MARGIN,) * 4, mode="reflect")
        grains = torch.tensor(GRAINS)[torch.randint(len(GRAINS), (len(clean),), generator=generator)]
        for grain in sorted(set(GRAINS)):
            chosen = grains == grain
            if chosen.any():
                wide[chosen] = self._with_noise(wide[chosen], grain, generator)
        noisy = self.coded(wide, generator)[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return noisy.mean(1, keepdim=True) if gray else noisy

    def _with_noise(self, picture: Tensor, grain: float, generator: torch.Generator) -> Tensor:
        """N x 3 x H x W -> the same with noise whose grain is `grain` pixels wide."""
        level = self.sensitivity.draw(len(picture), generator)
        if grain == 1:
            return picture + self.noise(picture, level, generator)
        size = [round(side / grain) for side in picture.shape[2:]]
        small = F.interpolate(picture, size=size, mode="bilinear")
        noise = self.noise(small, level, generator)
        return picture + F.interpolate(noise, size=picture.shape[2:], mode="bilinear")

    def noise(self, picture: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """As `noise_of`, with the camera's filters."""
        return noise_of(picture, level, generator, self.filters)

    def coded(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """N x 3 x H x W, not clipped; of these the share JPEG_SHARE went through JPEG."""
        return _jpeg(pictures, generator)


@dataclass(frozen=True)
class Sensor:
    """The noise of a camera's sensor after its processing, without JPEG or resizing: to be chained with them."""

    sensitivity: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1; H and W above 8) -> the same with noise, not clipped."""
        rgb = F.pad(clean.clamp(0, 1).expand(-1, 3, -1, -1), (MARGIN,) * 4, mode="reflect")
        noise = self.noise(rgb, self.sensitivity.draw(len(clean), generator), generator)
        noise = noise[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return clean + (noise.mean(1, keepdim=True) if clean.shape[1] == 1 else noise)

    def noise(self, picture: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """As `noise_of`, with the usual filters."""
        return noise_of(picture, level, generator)


@dataclass(frozen=True)
class HotPixels:
    """Pixels of the sensor that are always too bright, as long exposures show them; the level is their share.

    Each is one color of the mosaic, by 20 gray levels of 255 up to what makes it white; what the camera's
    interpolation makes of it is added to the picture. A third of the patches are not interpolated: there a hot pixel is
    one channel.
    """

    share: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1; H and W above 8) -> the same with hot pixels, up to about 1."""
        rgb = clean.clamp(0, 1).expand(-1, 3, -1, -1)
        excess = torch.rand(rgb.shape, generator=generator) * (1 - HOT_LEAST) + HOT_LEAST
        hot = torch.rand(rgb.shape, generator=generator) < self.share.draw(len(clean), generator)
        added = _demosaiced(torch.minimum(excess, 1 - rgb).clamp_min(0) * hot, generator)
        return clean + (added.mean(1, keepdim=True) if clean.shape[1] == 1 else added)


def noise_of(picture: Tensor, level: Tensor, generator: torch.Generator, filters: Filters = USUAL) -> Tensor:
    """Simulate how noise on the sensor appears in the finished picture.

    Args:
        picture: N x 3 x H x W in 0..1.
        level: sensitivity of each, N x 1 x 1 x 1 in 0..1.
        generator: of all randomness; the Bayer phase is drawn once for all N.
        filters: of the camera's own smoothing.

    Returns:
        The noise alone, float32 N x 3 x H x W of mean 0.
    """
    return _smoothed(sensor_noise(picture, level, generator), generator, filters)


def sensor_noise(picture: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """`noise_of` before the camera's own smoothing."""
    count = len(picture)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator)

    raised = (picture + TOE) / (1 + TOE)
    linear = raised**GAMMA
    slope = (1 + TOE) / GAMMA * linear.reciprocal().mul_(raised)  # of the tone curve, there
    to_rgb = _color_matrices(count, generator)
    gains = torch.cat((uniform(1.2, 2.4), torch.ones(count, 1, 1, 1), uniform(1.2, 2.2)), 1)
    raw = (recolored(torch.linalg.inv(to_rgb), linear) / gains).clamp_(0, 1)
    shot = torch.exp(log(SHOT[0]) + level * log(SHOT[1] / SHOT[0]))
    spread = torch.randn(count, 1, 1, 1, generator=generator) * READ_SPREAD
    read = torch.exp(READ_SLOPE * shot.log() + READ_OFFSET + spread)
    on_sensor = torch.randn(raw.shape, generator=generator) * (shot * raw + read).sqrt_()
    noise = _demosaiced(on_sensor, generator)
    return recolored(to_rgb, noise * gains).mul_(slope)


def recolored(matrices: Tensor, picture: Tensor) -> Tensor:
    """N x 3 x 3 applied to each pixel of N x 3 x H x W."""
    return torch.bmm(matrices, picture.flatten(2)).view_as(picture)


def _color_matrices(count: int, generator: torch.Generator) -> Tensor:
    """Camera colors to sRGB, N x 3 x 3: each row sums to 1, so that gray stays gray."""
    off = torch.empty(count, 3, 3).uniform_(-0.45, 0.0, generator=generator)
    off.diagonal(dim1=1, dim2=2).zero_()
    return off + torch.diag_embed(1 - off.sum(2))


# Kernels of Malvar, He and Cutler: green at red or blue; red at green in its row; in its column; red at blue.
_CROSS = torch.tensor([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_ROW = torch.tensor(
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
) / 8  # fmt: skip
_BOTH = torch.tensor(
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]
) / 8  # fmt: skip
_MALVAR = torch.stack((_CROSS, _ROW, _ROW.T, _BOTH))[:, None]  # 4 x 1 x 5 x 5
_GREEN = F.pad(torch.tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4, (1, 1, 1, 1))
_RED = F.pad(torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4, (1, 1, 1, 1))
_BILINEAR = torch.stack((_RED, _GREEN, _RED))[:, None]  # 3 x 1 x 5 x 5


def _demosaiced(values: Tensor, generator: torch.Generator) -> Tensor:
    """Keep of N x 3 x H x W what a Bayer mosaic samples, and interpolate: bilinear, Malvar or not at all, as drawn.

    The mosaic begins at a drawn one of its four phases.
    """
    _, _, height, width = values.shape
    row, column = (int(i) for i in torch.randint(2, (2,), generator=generator))
    red, blue, red_rows = torch.zeros(3, height, width)
    red[row::2, column::2] = 1
    blue[1 - row :: 2, 1 - column :: 2] = 1
    red_rows[row::2] = 1
    green = 1 - red - blue
    sampled = F.pad(values * torch.stack((red, green, blue)), (2, 2, 2, 2), mode="reflect")
    way = torch.randint(3, (len(values),), generator=generator)
    result = values.clone()
    result[way == 1] = F.conv2d(sampled[way == 1], _BILINEAR.to(values.device), groups=3)
    mosaic = sampled[way == 2].sum(1, keepdim=True)
    cross, along, across, both = F.conv2d(mosaic, _MALVAR.to(values.device)).unbind(1)
    plain = mosaic[:, 0, 2:-2, 2:-2]
    green_in_red, green_in_blue = green * red_rows, green * (1 - red_rows)
    result[way == 2] = torch.stack(
        (
            plain * red + along * green_in_red + across * green_in_blue + both * blue,
            plain * green + cross * (1 - green),
            plain * blue + across * green_in_red + along * green_in_blue + both * red,
        ),
        1,
    )
    return result


def _smoothed(noise: Tensor, generator: torch.Generator, filters: Filters = USUAL) -> Tensor:
    """The camera's own smoothing and sharpening of N x 3 x H x W, of each patch another.

    Brightness: a narrow filter, sharpened, with a share of what a wide one leaves. Color: a wider filter, and damped.
    """
    count = len(noise)
    settings = smoothing(count, generator, filters).tolist()
    split = recolored(LUMA.expand(count, 3, 3), noise).permute(0, 2, 3, 1).contiguous().numpy()
    for picture, (sigma, sharpen, share, sigma_color, damp) in zip(split, settings, strict=True):
        bright, colors = picture[:, :, 0].copy(), picture[:, :, 1:].copy()
        filtered = _blurred(bright, sigma)
        if sharpen:
            filtered = filtered + sharpen * (filtered - _blurred(bright, (sigma**2 + 1) ** 0.5))
        if share:
            filtered = filtered + share * (_blurred(bright, WIDE_SIGMA) - filtered)
        filtered_colors = _blurred(colors, sigma_color)
        if filters.keep_strength:
            filtered = filtered * (bright.std() / max(filtered.std(), NO_NOISE))
            filtered_colors = filtered_colors * (colors.std() / max(filtered_colors.std(), NO_NOISE)) ** 0.5
        picture[:, :, 0] = filtered
        picture[:, :, 1:] = damp * filtered_colors
    return recolored(FROM_LUMA.expand(count, 3, 3), torch.from_numpy(split).permute(0, 3, 1, 2).contiguous())


def smoothing(count: int, generator: torch.Generator, filters: Filters) -> Tensor:
    """How `count` patches are smoothed, N x 5.

    The columns: sigma of the narrow filter, how much it is sharpened, the share of the wide filter, sigma of the filter
    of the colors, and what their noise is multiplied with.
    """

    def drawn(low: float, high: float, share: float = 1.0, otherwise: float = 0.0) -> Tensor:
        value = torch.empty(count).uniform_(low, high, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < share, value, otherwise)

    narrow, sharpening, wide = drawn(*filters.brightness), drawn(0.0, 1.2, 0.4), drawn(0.0, 0.3, 0.5)
    color, damping = torch.maximum(narrow, drawn(*filters.color)), drawn(0.2, 1.0, 0.6, 1.0)
    return torch.stack((narrow, sharpening, wide, color, damping), 1)


def _blurred(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """H x W (x C) through a Gaussian; a sigma of 0 changes nothing."""
    if sigma < LEAST_SIGMA:
        return picture
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)


def _jpeg(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Through JPEG and back, the share JPEG_SHARE of N x 3 x H x W; each with its own quality, sampling and grid."""
    chosen = torch.nonzero(torch.rand(len(pictures), generator=generator) < JPEG_SHARE)[:, 0]
    if not len(chosen):
        return pictures
    draws = torch.rand(len(chosen), 4, generator=generator).tolist()
    pixels = pixels_of(pictures[chosen])
    low, high = JPEG_QUALITY
    for picture, (quality, sampling, y, x) in zip(pixels, draws, strict=True):
        picture[:] = coded(
            picture,
            int(low + quality * (high - low + 1)),
            SAMPLINGS[int(sampling * len(SAMPLINGS))],
            int(y * GRID),
            int(x * GRID),
        )
    result = pictures.clone()
    result[chosen] = values_of(pixels)
    return result
