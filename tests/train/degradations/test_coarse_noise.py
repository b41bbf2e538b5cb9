"""Film grain, color noise and enlarged noise: their strength, width and dependence on brightness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cae_train.degradations.coarse_noise import WHITE_SIGMA, smooth_noise
from cae_train.degradations.registry import parse


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_of(spec: str, value: float = 0.5, channels: int = 3, count: int = 192) -> Tensor:
    """The noise that a flat patch gets, in gray levels of 255, N x C x 32 x 32."""
    flat = torch.full((count, channels, 32, 32), value)
    before = flat.clone()
    noise = (parse(spec)(flat, generator()) - flat) * 255
    assert torch.equal(flat, before), "the input is not changed"
    assert noise.shape == flat.shape
    assert abs(float(noise.mean())) < 0.5, "no brightness is shifted"
    return noise


def neighbor(noise: Tensor, lag: int = 1) -> float:
    """Correlation of a pixel with the one `lag` further to the right."""
    return float((noise[..., lag:] * noise[..., :-lag]).mean() / noise.square().mean())


def brightness(noise: Tensor) -> Tensor:
    return (noise * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)


def test_smooth_noise_is_as_strong_at_the_edges_as_in_the_middle() -> None:
    for width in (0.0, 0.4, 1.7, 4.0):
        noise = smooth_noise(torch.full((800, 1, 1, 1), width), (1, 12, 20), generator())
        assert noise.shape == (800, 1, 12, 20)
        variances = noise.square().mean((0, 1))
        assert float(variances.mean()) == pytest.approx(1, abs=0.1)
        assert float((variances - 1).abs().max()) < 0.25


@pytest.mark.parametrize("channels", [1, 3])
def test_grain_is_strongest_in_the_middle_tones(channels: int) -> None:
    strengths = [float(noise_of("grain:12", value, channels).std()) for value in (0.0, 0.25, 0.5, 1.0)]
    assert strengths[2] == pytest.approx(12, rel=0.05)
    assert strengths[0] < strengths[1] < strengths[2]
    assert 0.05 * 12 < strengths[0] < 0.75 * 12
    assert strengths[3] == pytest.approx(strengths[0], rel=0.2)


def test_grain_is_wider_than_a_pixel_and_gray_in_some_patches() -> None:
    noise = noise_of("grain:12")
    assert neighbor(noise) > 0.5
    assert abs(neighbor(noise, 12)) < 0.05
    apart = (noise[:, 0] - noise[:, 1]).flatten(1).std(1)
    gray = apart < 1e-3
    assert 0.2 < float(gray.float().mean()) < 0.5
    assert float(apart[~gray].median()) > 3


def test_a_range_of_grain_draws_a_strength_for_each_patch() -> None:
    spreads = noise_of("grain").flatten(1).std(1)
    assert spreads.min() < 4
    assert spreads.max() > 22


def test_color_noise_is_coarse_and_its_brightness_noise_white() -> None:
    noise = noise_of("color-noise:15")
    luma = brightness(noise)
    blue, red = noise[:, 2] - luma, noise[:, 0] - luma
    assert neighbor(blue) > 0.7 < neighbor(red)
    assert abs(neighbor(luma)) < 0.05
    assert float(red.std()) == pytest.approx(1.402 * 15, rel=0.25)  # half of the patches have less in bright places
    assert float(luma.std()) == pytest.approx((WHITE_SIGMA[1] ** 2 / 3) ** 0.5, rel=0.15)
    assert (
        float((noise_of("color-noise:15", 0.0)[:, 0] - brightness(noise_of("color-noise:15", 0.0))).std()) > red.std()
    )


def test_gray_patches_get_only_the_brightness_noise_of_color_noise() -> None:
    noise = noise_of("color-noise:20", channels=1)
    assert float(noise.flatten(1).std(1).max()) < 1.1 * WHITE_SIGMA[1]


def test_enlarged_noise_is_white_noise_of_fewer_pixels() -> None:
    noise = noise_of("enlarged:20")
    assert 0.35 < neighbor(noise) < 0.8
    assert abs(neighbor(noise, 6)) < 0.05
    assert 0.5 * 20 < float(noise.std()) < 20
    assert neighbor(noise) == pytest.approx(neighbor(noise.mT), abs=0.05)


@pytest.mark.parametrize("spec", ["grain", "color-noise", "enlarged:2-40", "hot-pixels:0-0.003", "camera-soft"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_seed_gives_the_same_patches_at_any_size(spec: str, channels: int) -> None:
    clean = torch.rand(5, channels, 24, 40)
    first = parse(spec)(clean, generator(3))
    assert first.shape == clean.shape
    assert bool(torch.isfinite(first).all())
    assert torch.equal(first, parse(spec)(clean, generator(3)))
    assert not torch.equal(first, parse(spec)(clean, generator(4)))
