"""Blur: its kernels, and patches whose edges are blurred with the photograph around them."""

from __future__ import annotations

from math import pi

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cae_train import TrainConfig
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.degradations.blur import path
from cae_train.degradations.registry import parse, parse_chain

SEEDS = st.integers(0, 2**31)
SPECS = ["blur:0-8", "blur:1.5", "motion-blur:1-31", "motion-blur:9"]


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def paths(length: float, angle: float, radius: int = 15) -> Tensor:
    return path(torch.full((1, 1, 1), length), torch.full((1, 1, 1), angle), radius)[0]


@settings(max_examples=30)
@given(
    spec=st.sampled_from(SPECS),
    value=st.floats(0, 1, width=32),
    channels=st.sampled_from((1, 3)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=SEEDS,
)
def test_blur_keeps_a_flat_color(spec: str, value: float, channels: int, size: tuple[int, int], seed: int) -> None:
    clean = torch.full((3, channels, *size), value)
    assert torch.allclose(parse(spec)(clean, generator(seed)), clean, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_a_kernel_sums_to_1_and_has_no_negative_weight(spec: str) -> None:
    point = torch.zeros(64, 1, 65, 65)
    point[:, :, 32, 32] = 1
    kernels = parse(spec)(point, generator())[:, 0]
    assert kernels.sum((1, 2)).tolist() == pytest.approx([1] * 64, abs=1e-5)
    assert float(kernels.min()) >= 0
    assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-6), "nothing is shifted"


@pytest.mark.parametrize("sigma", [0.5, 1.7, 3, 8])
def test_gaussian_blur_equals_opencv(sigma: float) -> None:
    pictures = torch.rand(3, 3, 48, 40, generator=generator())
    blurred = parse(f"blur:{sigma}")(pictures, generator())
    side = 2 * parse_chain([f"blur:{sigma}"]).reach + 1
    for picture, result in zip(pictures, blurred, strict=True):
        wanted = cv2.GaussianBlur(
            picture.permute(1, 2, 0).numpy(), (side, side), sigma, borderType=cv2.BORDER_REFLECT_101
        )
        assert result.permute(1, 2, 0).numpy() == pytest.approx(wanted, abs=1e-5)


@settings(max_examples=20)
@given(low=st.floats(0.3, 6), seed=SEEDS)
def test_detail_decreases_with_sigma(low: float, seed: int) -> None:
    clean = torch.rand(8, 3, 32, 32, generator=generator(seed))
    less, more = (parse(f"blur:{sigma:.6f}")(clean, generator()).var((2, 3)) for sigma in (low, low * 1.3))
    assert bool((more < less).all())


@settings(max_examples=20)
@given(low=st.integers(2, 12), seed=SEEDS)
def test_detail_decreases_with_the_length_of_the_motion(low: int, seed: int) -> None:
    clean = torch.rand(16, 3, 32, 32, generator=generator(seed))
    less, more = (parse(f"motion-blur:{length}")(clean, generator(2)).var() for length in (low, 2 * low))
    assert more < less


def test_a_range_draws_a_sigma_for_each_patch() -> None:
    point = torch.zeros(200, 1, 65, 65)
    point[:, :, 32, 32] = 1
    across = parse("blur:0.7-8")(point, generator())[:, 0].sum(1)
    sigmas = (across * (torch.arange(65) - 32) ** 2).sum(1).sqrt()
    assert 0.69 < float(sigmas.min()) < 1
    assert 7.5 < float(sigmas.max()) < 8.01
    assert float(sigmas.mean()) == pytest.approx(4.35, abs=0.4)


def test_axis_aligned_paths_are_even_and_have_the_given_length() -> None:
    for length in (1, 3, 9, 31):
        row, column = paths(length, 0.0), paths(length, pi / 2)
        half = length // 2
        assert row[15, 15 - half : 16 + half].tolist() == pytest.approx([1 / length] * length, abs=1e-4)
        assert column[15 - half : 16 + half, 15].tolist() == pytest.approx([1 / length] * length, abs=1e-4)
    between = paths(4, 0.0)[15, 12:19].tolist()
    assert between == pytest.approx([0, 1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8, 0], abs=1e-4)


@settings(max_examples=50)
@given(length=st.floats(2, 30), angle=st.floats(0, pi))
def test_a_path_has_its_length_and_direction(length: float, angle: float) -> None:
    """By the moments of a straight line, length² / 12 along it, with the width and the pixels' own 1 / 12 each."""
    kernel, places = paths(length, angle), torch.arange(-15.0, 16)
    across = float((kernel.sum(0) * places**2).sum())
    down = float((kernel.sum(1) * places**2).sum())
    mixed = float((kernel * places[:, None] * places).sum())
    along = np.cos(angle) ** 2 * across + np.sin(angle) ** 2 * down + 2 * np.sin(angle) * np.cos(angle) * mixed
    aside = np.sin(angle) ** 2 * across + np.cos(angle) ** 2 * down - 2 * np.sin(angle) * np.cos(angle) * mixed
    assert along == pytest.approx(length**2 / 12, rel=0.1, abs=0.35)
    assert aside < 0.35


def test_each_patch_draws_its_own_direction() -> None:
    point = torch.zeros(400, 1, 33, 33)
    point[:, :, 16, 16] = 1
    kernels, places = parse("motion-blur:15")(point, generator())[:, 0], torch.arange(-16.0, 17)
    down, across = ((kernels.sum(axis) * places**2).sum(1) for axis in (2, 1))
    mixed = (kernels * places[:, None] * places).sum((1, 2))
    angles = torch.atan2(2 * mixed, across - down) / 2 % pi
    counts = torch.histc(angles, 8, 0, pi)
    assert float(counts.min()) > 25
    assert float(counts.max()) < 80


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", ["blur:1.5", "blur:3"])
def test_the_edge_of_a_patch_is_blurred_with_the_photograph_around_it(spec: str, channels: int) -> None:
    """A degraded crop is the crop of the degraded photograph."""
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (90, 110, channels), dtype=np.uint8)
    whole = torch.from_numpy(photograph).permute(2, 0, 1)[None] / 255
    blurred = parse_chain([spec])(whole, generator())[0]
    for images in ([photograph], [photograph[:33, :40]]):  # of a small one, what lies beside it is its reflection
        source = whole if images[0] is photograph else whole[:, :, :33, :40]
        wanted = blurred if images[0] is photograph else parse_chain([spec])(source, generator())[0]
        degraded, clean = fixed_pairs(images, parse_chain([spec]), 0, 12)
        assert clean.shape == degraded.shape == (12, channels, 32, 32)
        for one, other in zip(degraded, clean, strict=True):
            y, x = place_of(other, source[0])
            assert (one - wanted[:, y : y + 32, x : x + 32]).abs().max() < 1.5 / 255


def place_of(patch: Tensor, photograph: Tensor) -> tuple[int, int]:
    """Where a patch of noise lies, found by its corner."""
    height, width = photograph.shape[1:]
    corners = photograph.unfold(1, 4, 1).unfold(2, 4, 1)[:, : height - 31, : width - 31]
    found = (corners - patch[:, None, None, :4, :4]).abs().amax((0, 3, 4)) < 1e-3
    ((y, x),) = found.nonzero().tolist()
    assert (photograph[:, y : y + 32, x : x + 32] - patch).abs().max() < 1e-3
    return y, x


def test_training_patches_are_blurred_with_the_photograph_around_them() -> None:
    """The bright photograph around a dark patch shines in, in whatever way the patch was turned."""
    photograph = np.full((40, 40, 3), 255, np.uint8)
    photograph[4:36, 4:36] = 0
    config = TrainConfig(batch=512, epoch_crops=512)
    degraded, clean = Pairs([photograph], parse_chain(["blur:2"]), config)[0, 0]
    assert clean.shape == degraded.shape == (512, 3, 32, 32)
    dark = clean.amax((1, 2, 3)) == 0
    assert bool(dark.any())
    edge = degraded[dark][:, :, 0]
    assert float(edge.mean()) > 0.3
    assert float(degraded[dark][:, :, 16, 16].max()) == 0


def test_images_of_patch_size_are_reflected_at_the_edges() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8) for i in range(4)]
    chain = parse_chain(["blur:2", "gaussian:5"])
    degraded, clean = fixed_pairs(images, chain, 0)
    assert degraded.shape == clean.shape == (4, 3, 32, 32)
    pairs = Pairs(images, chain, TrainConfig(batch=4))
    assert pairs.margin == 0
    assert pairs[0, 0][0].shape == (4, 3, 32, 32)


def test_gray_patches_are_blurred_with_the_photograph_around_them() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (50, 60, 3), dtype=np.uint8) for i in range(3)]
    config = TrainConfig(batch=16, epoch_crops=16, gray=0.5, jitter=0.2, degrain=0.2)
    degraded, clean = Pairs(images, parse_chain(["motion-blur:9", "jpeg:60"]), config)[0, 0]
    for batch in (degraded, clean):
        assert batch.shape == (16, 3, 32, 32)
        assert int((batch == batch[:, :1]).flatten(1).all(1).sum()) == 8
