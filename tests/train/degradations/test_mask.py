"""Holes: how much they cover, how they look, and that they can be found again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_train.config import TrainConfig
from cae_train.data.pairs import Pairs
from cae_train.degradations.mask import FILL, holes
from cae_train.degradations.registry import parse, parse_chain

SEEDS = st.integers(0, 2**31)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def without_gray(count: int, channels: int, *size: int) -> torch.Tensor:
    """Return noise of 8 bits in which no value is the one of holes."""
    values = torch.randint(1, 254, (count, channels, *size), generator=generator())
    return (values + (values >= 128)) / 255


@settings(max_examples=30)
@given(share=st.floats(0.05, 0.6), size=st.sampled_from(((32, 32), (64, 64), (48, 32))), seed=SEEDS)
def test_every_patch_is_covered_to_the_given_share(share: float, size: tuple[int, int], seed: int) -> None:
    covered = holes(parse(f"mask:{share:.6f}")(torch.zeros(16, 3, *size), generator(seed))).float().mean((1, 2, 3))
    assert float(covered.min()) > share - 0.015
    assert float(covered.max()) < share + 0.08  # one narrow stroke
    assert float(covered.mean()) == pytest.approx(share, abs=0.025)


@settings(max_examples=20)
@given(share=st.floats(0, 1), size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=SEEDS)
def test_any_share_at_any_size_terminates(share: float, size: tuple[int, int], seed: int) -> None:
    covered = holes(parse(f"mask:{share:.6f}")(torch.zeros(4, 1, *size), generator(seed))).float().mean((1, 2, 3))
    assert float(covered.min()) > 0.85 * share - 0.01


def test_share_1_covers_everything_and_0_nothing() -> None:
    clean = without_gray(16, 3, 32, 32)
    assert bool(holes(parse("mask:1")(clean, generator())).all())
    assert torch.equal(parse("mask:0")(clean, generator()), clean)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_holes_are_found_exactly_and_other_pixels_are_unchanged(channels: int, clip: bool) -> None:
    clean = without_gray(64, channels, 32, 32)
    degraded = parse_chain(["mask:0.1-0.5"], clip)(clean, generator())
    missing = holes(degraded)
    assert (missing.shape, missing.dtype) == ((64, 1, 32, 32), torch.bool)
    color = torch.tensor(FILL[channels]).view(-1, 1, 1)
    assert torch.allclose(degraded[~missing.expand_as(degraded)], clean[~missing.expand_as(clean)], atol=1e-6)
    assert torch.equal(
        missing, (degraded != clean).any(1, keepdim=True) & (degraded - color).abs().lt(1e-6).all(1)[:, None]
    )


@pytest.mark.parametrize(
    ("color", "hole"),
    [((255, 0, 255), True), ((255, 0, 254), False), ((128, 128, 128), False), ((128,), True), ((127,), False)],
)
def test_holes_are_magenta_or_in_gray_pictures_mid_gray(color: tuple[int, ...], hole: bool) -> None:
    assert bool(holes(torch.tensor(color)[None, :, None, None] / 255).all()) is hole


def test_half_of_the_patches_have_rectangles_and_half_strokes() -> None:
    """A rectangle's contours run along the grid: an early one of 5 % has at most a few corners."""
    missing = holes(parse("mask:0.05")(torch.zeros(400, 1, 32, 32), generator()))[:, 0].byte().numpy()
    boxes = 0
    for hole in missing:
        _, _, parts, _ = cv2.connectedComponentsWithStats(hole, connectivity=4)
        boxes += bool(np.all(parts[1:, cv2.CC_STAT_AREA] == parts[1:, 2] * parts[1:, 3]))
    assert 120 < boxes < 240


def test_a_range_draws_a_share_for_each_patch() -> None:
    covered = holes(parse("mask:0.1-0.5")(torch.zeros(300, 1, 32, 32), generator())).float().mean((1, 2, 3))
    assert 0.08 < float(covered.min()) < 0.13
    assert 0.47 < float(covered.max()) < 0.54
    assert float(covered.mean()) == pytest.approx(0.3, abs=0.03)


def test_holes_can_be_anywhere() -> None:
    often = holes(parse("mask:0.3")(torch.zeros(2000, 1, 32, 32), generator())).float().mean((0, 1))
    assert float(often.min()) > 0.1
    assert float(often.max()) < 0.45


@pytest.mark.parametrize("name", ["letters", "scratches"])
def test_letters_and_scratches_cover_about_the_given_share(name: str) -> None:
    clean = without_gray(64, 3, 32, 32)
    degraded = parse_chain([f"{name}:0.1"])(clean, generator())
    missing = holes(degraded)
    assert torch.allclose(degraded[~missing.expand_as(clean)], clean[~missing.expand_as(clean)], atol=1e-6)
    covered = missing.float().mean((1, 2, 3))
    assert float((covered >= 0.1).float().mean()) > 0.9
    assert float(covered.mean()) < 0.25
    assert torch.equal(parse(f"{name}:0")(clean, generator()), clean)
    assert parse_chain([f"mask:0.2,{name}:0.1"]).leaves_holes


def test_scratches_cross_the_patch() -> None:
    missing = holes(parse("scratches:0.01")(torch.zeros(64, 1, 32, 32), generator()))[:, 0]
    sides = [missing[:, 0], missing[:, -1], missing[..., 0], missing[..., -1]]
    assert float((torch.stack([side.any(1) for side in sides]).sum(0) >= 2).float().mean()) > 0.8


def test_gray_patches_of_a_color_network_have_magenta_holes() -> None:
    photograph = np.random.default_rng(0).integers(0, 120, (40, 40, 3), dtype=np.uint8)
    config = TrainConfig(batch=16, epoch_crops=64, gray=0.5, degrade=("mask:0.2-0.3",))
    degraded, clean = Pairs([photograph], parse_chain(config.degrade), config)[0, 0]
    assert (clean[:8] == clean[:8, :1]).all()
    assert holes(degraded).float().mean((1, 2, 3)).min() > 0.15
