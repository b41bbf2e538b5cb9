"""Augmentation of clean patches: colors and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cae_train.data.augment import drawn_count, jittered, smaller, without_grain

SEEDS = st.integers(0, 2**31)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(count: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, 3, 32, 32), generator=generator(seed)).float().div(255)


@settings(max_examples=40)
@given(count=st.integers(1, 20), share=st.floats(0, 1), seed=SEEDS)
def test_the_last_patches_are_augmented_and_stay_8_bit(count: int, share: float, seed: int) -> None:
    clean = patches(count)
    result = jittered(clean.clone(), share, generator(seed))
    assert (result.shape, result.dtype) == (clean.shape, torch.float32)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(result.mul(255).round().div(255), result)
    altered = (result != clean).flatten(1).any(1)
    wanted = sum(altered.tolist())
    assert abs(wanted - share * count) < 1
    assert altered.tolist() == [False] * (count - wanted) + [True] * wanted


def test_share_one_half_changes_half_of_the_batch() -> None:
    clean = patches(8)
    result = jittered(clean.clone(), 0.5, generator())
    assert torch.equal(result[:4], clean[:4])
    assert all(not torch.equal(a, b) for a, b in zip(result[4:], clean[4:], strict=True))


def test_share_0_changes_nothing_and_draws_no_random_numbers() -> None:
    clean, source = patches(8), generator()
    assert torch.equal(jittered(clean.clone(), 0, source), clean)
    assert torch.equal(source.get_state(), generator().get_state())


def test_the_batch_is_changed_in_place_in_any_memory_layout() -> None:
    clean = patches(8).to(memory_format=torch.channels_last)
    wanted = jittered(patches(8), 1, generator())
    assert jittered(clean, 1, generator()) is clean
    assert torch.equal(clean, wanted)


def test_the_seed_decides() -> None:
    first = jittered(patches(8), 1, generator(5))
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(first, jittered(patches(8), 1, generator(5)))
    assert not torch.equal(first, jittered(patches(8), 1, generator(6)))


@settings(max_examples=20)
@given(seed=SEEDS)
def test_gray_stays_gray_and_flat_stays_flat(seed: int) -> None:
    clean = patches(8)[:, :1].expand(-1, 3, -1, -1).contiguous()
    result = jittered(clean, 1, generator(seed))
    assert float((result - result[:, :1]).abs().max()) <= 1.01 / 255
    colors = patches(8)[:, :, :1, :1].expand(-1, -1, 32, 32).contiguous()
    result = jittered(colors, 1, generator(seed))
    assert torch.equal(result, result[:, :, :1, :1].expand_as(result))


def test_colors_become_both_paler_and_more_saturated() -> None:
    def saturation(batch: Tensor) -> Tensor:
        return (batch.amax(1) - batch.amin(1)).mean((1, 2))

    clean = patches(200) * 0.4 + 0.3
    before, after = saturation(clean), saturation(jittered(clean.clone(), 1, generator()))
    assert float((after < 0.7 * before).float().mean()) > 0.2
    assert float((after > 1.3 * before).float().mean()) > 0.2


@given(height=st.integers(32, 200), width=st.integers(32, 200), step=st.integers(0, 7), seed=SEEDS)
def test_a_smaller_copy_has_the_scaled_size(height: int, width: int, step: int, seed: int) -> None:
    scale = 0.75**step
    image = np.random.default_rng(seed).integers(50, 200, (height, width, 3), dtype=np.uint8)
    copy = smaller(image, scale)
    assert copy.dtype == np.uint8
    assert copy.shape[0] == pytest.approx(height * scale, abs=0.51)
    assert copy.shape[1] == pytest.approx(width * scale, abs=0.51)
    assert copy.shape[2] == 3
    assert image.min() <= copy.min() <= copy.max() <= image.max()
    assert copy.mean((0, 1)) == pytest.approx(image.mean((0, 1)), abs=10)
    assert (copy is image) == (step == 0)


def test_a_smaller_copy_keeps_colors_and_positions() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :, 0], image[32:, :, 2] = 255, 255
    copy = smaller(image, 0.5)
    assert copy.shape == (32, 48, 3)
    assert (copy[:16] == (255, 0, 0)).all()
    assert (copy[16:] == (0, 0, 255)).all()


def test_a_pixel_of_a_smaller_copy_is_a_mean() -> None:
    image = np.tile(np.array([[0, 200], [200, 0]], np.uint8)[:, :, None], (32, 32, 3))
    assert (smaller(image, 0.5) == 100).all()


def test_grain_is_removed_and_edges_are_kept() -> None:
    edge = np.full((32, 32, 3), 60, np.uint8)
    edge[:, 16:] = 180
    grainy = np.clip(edge + np.random.default_rng(0).normal(0, 2, edge.shape), 0, 255).round().astype(np.uint8)
    restored = without_grain(grainy).astype(float)
    assert restored.shape == grainy.shape
    assert np.abs(restored - edge).std() < 0.5 * np.abs(grainy.astype(float) - edge).std()
    assert np.abs(restored[:, 15:17] - edge[:, 15:17]).max() < 8, "the edge is where it was"


def test_a_share_of_a_small_batch_is_right_on_average() -> None:
    source = generator()
    counts = [drawn_count(0.05, 4, source) for _ in range(1000)]
    assert set(counts) == {0, 1}
    assert sum(counts) == pytest.approx(200, rel=0.25)
