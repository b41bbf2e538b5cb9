from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_runtime.tiles import blend, origins, split, window


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, int, int]:
    patch = draw(st.integers(2, 12))
    overlap = draw(st.integers(0, patch - 1))
    return draw(st.integers(patch, 40)), draw(st.integers(patch, 40)), patch, overlap


@pytest.mark.parametrize(
    ("length", "patch", "overlap", "expected"),
    [
        (32, 32, 0, [0]),
        (33, 32, 0, [0, 1]),
        (64, 32, 0, [0, 32]),
        (65, 32, 0, [0, 32, 33]),
        (32, 32, 8, [0]),
        (33, 32, 8, [0, 1]),
        (56, 32, 8, [0, 24]),
        (64, 32, 8, [0, 24, 32]),
        (34, 32, 31, [0, 1, 2]),
    ],
)
def test_origins(length: int, patch: int, overlap: int, expected: list[int]) -> None:
    assert origins(length, patch, overlap).tolist() == expected


@pytest.mark.parametrize(("length", "overlap"), [(31, 0), (64, 32), (64, -1)])
def test_origins_refuse_what_has_no_answer(length: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=str(overlap if length == 64 else length)):
        origins(length, 32, overlap)


@given(grids())
def test_patches_cover_every_pixel_and_end_at_the_edge(grid: tuple[int, int, int, int]) -> None:
    length, _, patch, overlap = grid
    starts = origins(length, patch, overlap)
    assert starts[0] == 0
    assert starts[-1] + patch == length
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= patch - overlap).all()


@given(grids())
def test_weights_sum_to_one_at_every_pixel(grid: tuple[int, int, int, int]) -> None:
    length, _, patch, overlap = grid
    starts = origins(length, patch, overlap)
    weights = window(starts, patch, overlap)
    assert weights.min() > 0
    total = np.zeros(length)
    for start, row in zip(starts, weights, strict=True):
        total[start : start + patch] += row
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_ramp_fades_smoothly_between_two_neighbours() -> None:
    first, second = window(origins(56, 32, 8), 32, 8)
    assert (first[:24] == 1).all()
    assert (np.diff(first[24:]) < 0).all()
    np.testing.assert_allclose(first[24:] + second[:8], 1, atol=1e-6)


@settings(max_examples=60)
@given(grids(), st.integers(0, 2**32 - 1))
def test_unchanged_patches_give_the_image_back(grid: tuple[int, int, int, int], seed: int) -> None:
    height, width, patch, overlap = grid
    image = np.random.default_rng(seed).random((3, height, width), np.float32)
    ys, xs = origins(height, patch, overlap), origins(width, patch, overlap)
    patches = split(image, ys, xs, patch)
    assert patches.shape == (len(ys) * len(xs), 3, patch, patch)
    assert patches.flags.c_contiguous
    np.testing.assert_array_equal(patches[-1], image[:, -patch:, -patch:])
    out = np.zeros_like(image)
    blend(patches, xs, ys, window(ys, patch, overlap), window(xs, patch, overlap), out)
    np.testing.assert_allclose(out, image, atol=1e-6)


@given(grids(), st.integers(1, 5))
def test_blending_in_several_calls_is_bit_for_bit_the_same(grid: tuple[int, int, int, int], rows: int) -> None:
    height, width, patch, overlap = grid
    image = np.random.default_rng(0).random((1, height, width), np.float32)
    ys, xs = origins(height, patch, overlap), origins(width, patch, overlap)
    wy, wx = window(ys, patch, overlap), window(xs, patch, overlap)
    whole, parts = np.zeros_like(image), np.zeros_like(image)
    blend(split(image, ys, xs, patch), xs, ys, wy, wx, whole)
    for i in range(0, len(ys), rows):
        some = ys[i : i + rows]
        blend(split(image, some, xs, patch), xs, some, wy[i : i + rows], wx, parts)
    np.testing.assert_array_equal(parts, whole)
