"""The drawn patterns: regular, fine, of all colors, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cae_train.data.patterns import dithered, load_patterns
from cae_train.data.synthetic import SIDE, load_synthetic

FEW = 10


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack(load_patterns(0, FEW))


def test_pictures_are_8_bit_rgb_and_given_by_the_seed(pictures: np.ndarray) -> None:
    assert pictures.shape == (FEW, SIDE, SIDE, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(np.stack(load_patterns(0, FEW)), pictures)
    assert len({picture.tobytes() for picture in (*pictures, *load_patterns(1, FEW))}) == 2 * FEW


def test_at_least_half_of_the_crops_repeat_within_a_few_pixels(pictures: np.ndarray) -> None:
    """The autocorrelation of the brightness has a second peak near its first one."""
    regular = 0
    for picture in pictures:
        crop = picture[:96, :96].mean(2)
        crop = crop - crop.mean()
        if crop.std() < 2:
            continue
        power = np.abs(np.fft.fft2(crop)) ** 2
        alike = np.fft.ifft2(power).real / power.mean()
        right, below = alike[0, :14], alike[:14, 0]
        regular += any((np.diff(line) > 0.05).any() for line in (right, below))
    assert regular >= FEW // 2


@pytest.mark.parametrize("seed", range(3))
def test_dithering_has_two_colors(seed: int) -> None:
    picture = dithered(np.random.default_rng(seed))
    assert picture.shape == (SIDE, SIDE, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("load", [load_patterns, load_synthetic])
def test_no_pictures_are_drawn_where_none_are_wanted(load: Callable[[int, int], list[np.ndarray]]) -> None:
    assert load(0, 0) == []
