"""A camera's noise for many patches at once: its filters are matrix products, its JPEG is `on_device.jpeg`."""

import torch
from torch import Tensor

from cae_train.degradations.camera_noise import (
    FROM_LUMA,
    JPEG_QUALITY,
    JPEG_SHARE,
    LEAST_SIGMA,
    LUMA,
    NO_NOISE,
    USUAL,
    WIDE_SIGMA,
    Camera,
    Filters,
    Sensor,
    recolored,
    sensor_noise,
    smoothing,
)
from cae_train.on_device.filters import gaussian
from cae_train.on_device.jpeg import Place, coded

TAIL = 4  # radius of the filters in sigmas, as in OpenCV


class DeviceCamera(Camera):
    """`Camera`, with its filters and its JPEG on the device that the patches are on."""

    def noise(self, picture: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """What noise on the sensor becomes in the finished picture, N x 3 x H x W."""
        return smoothed(sensor_noise(picture, level, generator), generator, self.filters)

    def coded(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures, N x 3 x H x W, not clipped; a share JPEG_SHARE of them after JPEG compression."""
        drawn = torch.rand(len(pictures), generator=generator, device=pictures.device) < JPEG_SHARE
        chosen = torch.nonzero(drawn)[:, 0]
        if not len(chosen):
            return pictures
        draws = torch.rand(len(chosen), 4, generator=generator, device=pictures.device)
        low, high = JPEG_QUALITY
        quality = (low + draws[:, 0] * (high - low + 1)).floor()
        result = pictures.clone()
        result[chosen] = coded(pictures[chosen], quality, Place.drawn(draws[:, 1:]))
        return result


class DeviceSensor(Sensor):
    """`Sensor`, with its filters on the device that the patches are on."""

    def noise(self, picture: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """What noise on the sensor becomes in the finished picture, N x 3 x H x W."""
        return smoothed(sensor_noise(picture, level, generator), generator, USUAL)


def smoothed(noise: Tensor, generator: torch.Generator, filters: Filters) -> Tensor:
    """Noise, N x 3 x H x W, after the camera's smoothing and sharpening, which differ from patch to patch."""
    count = len(noise)
    settings = smoothing(count, generator, filters)
    narrow, sharpen, wide, color, damp = settings.unbind(1)
    split = recolored(LUMA.to(noise.device).expand(count, 3, 3), noise)
    bright, colors = split[:, :1], split[:, 1:]
    planes = bright.expand(-1, 3, -1, -1).flatten(0, 1)[:, None]
    sigmas = torch.stack((narrow, (narrow.square() + 1).sqrt(), torch.full_like(narrow, WIDE_SIGMA)), 1)
    once, twice, far = _blurred(planes, sigmas.flatten()).view(count, 3, *noise.shape[2:]).unbind(1)
    filtered = torch.lerp(once[:, None], (2 * once - twice)[:, None], _per_patch(sharpen))
    filtered = torch.lerp(filtered, far[:, None], _per_patch(wide))
    filtered_colors = _blurred(colors, color)
    if filters.keep_strength:
        filtered = filtered * (_spread(bright) / _spread(filtered).clamp_min(NO_NOISE))
        filtered_colors = filtered_colors * (_spread(colors) / _spread(filtered_colors).clamp_min(NO_NOISE)).sqrt()
    result = torch.cat((filtered, _per_patch(damp) * filtered_colors), 1)
    return recolored(FROM_LUMA.to(noise.device).expand(count, 3, 3), result)


def _blurred(planes: Tensor, sigma: Tensor) -> Tensor:
    """N x C x H x W blurred by Gaussians with N sigmas; below LEAST_SIGMA, nothing changes."""
    return gaussian(planes, torch.where(sigma < LEAST_SIGMA, 0.0, sigma), TAIL)


def _spread(noise: Tensor) -> Tensor:
    """Standard deviation of each of the N, over all its channels: N x 1 x 1 x 1."""
    return _per_patch(noise.flatten(1).std(1, correction=0))


def _per_patch(values: Tensor) -> Tensor:
    """N numbers as N x 1 x 1 x 1."""
    return values.view(-1, 1, 1, 1)
