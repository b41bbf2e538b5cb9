"""Synthetic pictures have what photographs have little of, and a seed reproduces them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import cae_train.data.synthetic
from cae_train.data.synthetic import (
    OVERSAMPLING,
    SIDE,
    dead_leaves,
    line_art,
    load_synthetic,
    text,
)

KINDS = (dead_leaves, text, line_art)
FEW = 8


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.data.synthetic, "PICTURES", FEW)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cae_train.data.synthetic, "PICTURES", FEW)
        return np.stack(load_synthetic(0))


def test_pictures_are_8_bit_rgb(pictures: np.ndarray) -> None:
    assert pictures.shape == (FEW, SIDE, SIDE, 3)
    assert pictures.dtype == np.uint8
    assert all(np.ptp(picture) > 100 for picture in pictures)
    assert (int(pictures.min()), int(pictures.max())) == (0, 255)


def test_pictures_have_saturated_colors_of_every_hue(pictures: np.ndarray) -> None:
    spread = pictures.max(3).astype(int) - pictures.min(3)
    assert (spread > 150).mean() > 0.02
    assert (spread < 20).mean() > 0.02, "and grays"
    assert {int(c) for c in pictures.argmax(3)[spread > 150]} == {0, 1, 2}


def test_pictures_have_flat_areas_and_sharp_edges(pictures: np.ndarray) -> None:
    right = np.abs(np.diff(pictures[:, :-1].astype(int), axis=2)).max(3)
    below = np.abs(np.diff(pictures[:, :, :-1].astype(int), axis=1)).max(3)
    assert ((right == 0) & (below == 0)).mean((1, 2)).min() > 0.1
    assert (right > 60).mean((1, 2)).min() > 0.003


@pytest.mark.usefixtures("few")
def test_the_seed_decides(pictures: np.ndarray) -> None:
    assert np.array_equal(np.stack(load_synthetic(0)), pictures)
    other = load_synthetic(1)
    everything = {picture.tobytes() for picture in (*pictures, *other)}
    assert len(everything) == 2 * FEW, "no two are the same"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_a_different_picture_each_time(
    kind: Callable[[np.random.Generator], np.ndarray], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first, second = kind(rng), kind(rng)
    assert first.shape == (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING, 3)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert np.array_equal(first, kind(np.random.default_rng(seed)))
