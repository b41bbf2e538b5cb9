from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_runtime.inference.tiling import OverlapAdder, cut, origins, window


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
def test_origins_cover_the_length(length: int, patch: int, overlap: int, expected: list[int]) -> None:
    assert origins(length, patch, overlap).tolist() == expected


@pytest.mark.parametrize(("length", "overlap"), [(31, 0), (64, 32), (64, -1)])
def test_origins_refuse_impossible_sizes(length: int, overlap: int) -> None:
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


def test_the_ramp_fades_smoothly_between_two_neighbors() -> None:
    first, second = window(origins(56, 32, 8), 32, 8)
    assert (first[:24] == 1).all()
    assert (np.diff(first[24:]) < 0).all()
    np.testing.assert_allclose(first[24:] + second[:8], 1, atol=1e-6)


def added_up(image: np.ndarray, patch: int, overlap: int, columns: int, depth: int) -> np.ndarray:
    """Cut an image, put the patches back `columns` at a time, and add the rows up."""
    ys, xs = origins(image.shape[1], patch, overlap), origins(image.shape[2] // depth, patch, overlap)
    weights_y, weights_x = window(ys, patch, overlap), np.repeat(window(xs, patch, overlap), depth, axis=1)
    strips = OverlapAdder(len(ys), len(image), patch, xs, depth)
    for first in range(0, len(xs), columns):
        some = slice(first, first + columns)
        strips.put(cut(image, ys, xs[some], patch, depth), weights_x[some], first)
    return strips.sum(ys, weights_y)


@given(grids(), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_cut_copies_patches(grid: tuple[int, int, int, int], depth: int, seed: int) -> None:
    height, width, patch, overlap = grid
    image = np.random.default_rng(seed).integers(0, 256, (3, height, width * depth), np.uint8)
    ys, xs = origins(height, patch, overlap), origins(width, patch, overlap)
    patches = cut(image, ys, xs, patch, depth)
    assert (patches.dtype, patches.shape) == (image.dtype, (len(ys), len(xs), 3, patch, patch * depth))
    assert patches.flags.c_contiguous
    assert not np.shares_memory(patches, image)
    for row, y in zip(patches, ys, strict=True):
        for each, x in zip(row, xs * depth, strict=True):
            np.testing.assert_array_equal(each, image[:, y : y + patch, x : x + patch * depth])


@settings(max_examples=60)
@given(grids(), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_unchanged_patches_reproduce_the_image(grid: tuple[int, int, int, int], depth: int, seed: int) -> None:
    height, width, patch, overlap = grid
    image = np.random.default_rng(seed).random((3, height, width * depth), np.float32)
    np.testing.assert_allclose(added_up(image, patch, overlap, width, depth), image, atol=1e-6)


@given(grids(), st.integers(1, 5), st.sampled_from([1, 3]))
def test_adding_patches_in_parts_is_bit_for_bit_the_same(
    grid: tuple[int, int, int, int], columns: int, depth: int
) -> None:
    height, width, patch, overlap = grid
    image = np.random.default_rng(0).random((1, height, width * depth), np.float32)
    whole = added_up(image, patch, overlap, width, depth)
    np.testing.assert_array_equal(added_up(image, patch, overlap, columns, depth), whole)
