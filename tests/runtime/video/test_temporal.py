"""The temporal filter improves static regions and leaves moving ones alone."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.scenes import SQUARE, Degrade, camera, pan, square, video, white

from cae_runtime import ImageError, Restorer
from cae_runtime.video.noise_estimation import NoiseLevel, cells
from cae_runtime.video.temporal_filter import TemporalFilter

WIDTH, HEIGHT = 240, 176
NOISES = {"white 10": white(10), "white 25": white(25), "white 50": white(50), "camera": camera(1)}


@pytest.fixture(scope="module")
def network() -> Restorer:
    return Restorer("denoise-fast-int8", provider="cpu", threads=1)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    image = np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])
    return cv2.resize(image, (360, 360), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.coffee()[100:300, 150:450, ::-1])


def psnr(clean: np.ndarray, image: np.ndarray) -> float:
    """In dB; equal pictures count as 99."""
    return float(10 * np.log10(255**2 / max(np.square(clean - image.astype(float)).mean(), 255**2 / 10**9.9)))


def filtered(frames: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    keep = TemporalFilter()
    return [keep(noisy) for _, noisy in frames]


@pytest.mark.parametrize("noise", NOISES)
def test_static_regions_improve_and_flicker_half_as_much(network: Restorer, photo: np.ndarray, noise: str) -> None:
    frames = video(pan(photo, 0, 0, WIDTH, HEIGHT), NOISES[noise], 16, 1)
    alone = [network(noisy) for _, noisy in frames[-2:]]
    both = [network(image) for image in filtered(frames)[-2:]]
    clean = frames[-1][0]
    assert psnr(clean, both[1]) > psnr(clean, alone[1]) + 2
    flicker = [np.abs(a.astype(int) - b).mean() for a, b in (alone, both)]
    assert flicker[1] < flicker[0] / 2


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("step", [(0.5, 0.2), (1, 0), (2, 1), (5, 0)])
def test_moving_regions_are_as_good_as_without_the_filter(
    network: Restorer, photo: np.ndarray, noise: str, step: tuple[float, float]
) -> None:
    frames = video(pan(photo, *step, WIDTH, HEIGHT), NOISES[noise], 16, 2)
    results = filtered(frames)
    for number in (8, 15):
        clean, noisy = frames[number]
        assert psnr(clean, network(results[number])) > psnr(clean, network(noisy)) - 0.1


@pytest.mark.parametrize("step", [0.5, 2, 5])
@pytest.mark.parametrize("noise", ["white 25", "camera"])
def test_a_moving_square_leaves_no_ghost(
    network: Restorer, photo: np.ndarray, other: np.ndarray, noise: str, step: float
) -> None:
    frames = video(square(photo, other, step, WIDTH, HEIGHT), NOISES[noise], 16, 3)
    clean, noisy = frames[-1]
    top, left = (HEIGHT - SQUARE) // 2, int(20 + 15 * step)
    around = np.s_[top - 8 : top + SQUARE + 8, 10 : left + SQUARE + 16]
    was = np.s_[top : top + SQUARE, max(20, left - 24) : left]
    results = [network(image).astype(float) for image in (filtered(frames)[-1], noisy)]
    for where in (around, was):
        errors = [np.square(result[where] - clean[where]).mean() for result in results]
        assert errors[0] < 1.05 * errors[1]


@pytest.mark.parametrize("degrade", [white(0.001), white(25), camera(1)])
def test_a_cut_is_followed_at_once(photo: np.ndarray, other: np.ndarray, degrade: Degrade) -> None:
    before = video(pan(photo, 0, 0, WIDTH, HEIGHT), degrade, 8, 4)
    after = video(pan(other, 0, 0, WIDTH, HEIGHT), degrade, 12, 5)
    results = filtered(before + after)
    np.testing.assert_array_equal(results[8], after[0][1])
    clean, noisy = after[-1]
    gain = psnr(clean, results[-1]) - psnr(clean, noisy)
    assert gain > 4 or psnr(clean, noisy) > 60, "the new scene is averaged in its turn"


def test_the_first_frame_and_one_of_another_size_are_returned_unchanged(photo: np.ndarray) -> None:
    keep = TemporalFilter()
    frames = [noisy for _, noisy in video(pan(photo, 0, 0, WIDTH, HEIGHT), white(25), 4, 6)]
    for make in (lambda x: x, lambda x: x[:100], lambda x: x[..., 1], lambda x: x[:, ::2]):
        first, second, third = (make(frame) for frame in frames[:3])
        copy = first.copy()
        result = keep(first)
        np.testing.assert_array_equal(result, first)
        assert not np.shares_memory(result, first)
        assert (keep(second) != second).any()
        np.testing.assert_array_equal(first, copy)
        keep.reset()
        np.testing.assert_array_equal(keep(third), third)


def test_gray_is_filtered_too(photo: np.ndarray) -> None:
    gray = np.ascontiguousarray(photo[..., 1])
    frames = video(pan(gray, 0, 0, WIDTH, HEIGHT), white(25), 16, 7)
    result = filtered(frames)[-1]
    clean, noisy = frames[-1]
    assert result.shape == gray[:HEIGHT, :WIDTH].shape
    assert psnr(clean, result) > psnr(clean, noisy) + 8


@pytest.mark.parametrize("step", [(0, 0), (1, 0), (3, 1.5)])
def test_frames_without_noise_are_unchanged(photo: np.ndarray, step: tuple[float, float]) -> None:
    frames = video(pan(photo, *step, WIDTH, HEIGHT), lambda image, _: image, 12, 0)
    for (clean, _), result in zip(frames, filtered(frames), strict=True):
        assert psnr(clean, result) > 45 if any(step) else np.array_equal(clean, result)


def test_a_slow_change_of_light_is_followed(photo: np.ndarray) -> None:
    light = [np.rint(photo[:HEIGHT, :WIDTH] * (0.4 + 0.02 * i)).astype(np.uint8) for i in range(20)]
    frames = video(lambda number: light[number], white(10), 20, 8)
    clean, _ = frames[-1]
    assert abs(filtered(frames)[-1].mean() - clean.mean()) < 1.5, "less than the last step"


def test_the_same_frames_give_the_same_results(photo: np.ndarray) -> None:
    frames = video(pan(photo, 0.3, 0, WIDTH, HEIGHT), camera(1), 8, 9)
    for a, b in zip(filtered(frames), filtered(frames), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clipped_noise_does_not_turn_black_into_gray() -> None:
    black = np.zeros((96, 128, 3), np.uint8)
    for level in (0, 255):
        frames = video(lambda _, level=level: black + np.uint8(level), white(40), 24, 10)
        result = filtered(frames)[-1]
        assert abs(result.mean() - level) < 8
        assert abs(frames[-1][1].mean() - level) > 14, "which the mean of the noisy frames is off"


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 200), (200, 1), (2, 2), (33, 47), (17, 300)])
@pytest.mark.parametrize("colors", [(), (3,)])
def test_frames_of_any_size_are_filtered(
    rng: np.random.Generator, size: tuple[int, int], colors: tuple[int, ...]
) -> None:
    keep = TemporalFilter()
    scene = rng.integers(0, 256, (*size, *colors))
    for frame in [*(white(20)(scene, rng) for _ in range(8)), *(white(200)(scene, rng) for _ in range(3))]:
        result = keep(frame)
        assert (result.shape, result.dtype) == (frame.shape, frame.dtype)


@pytest.mark.parametrize("size", [(1, 1), (3, 5, 3), (33, 47), (120, 160, 3)])
def test_black_and_white_frames_are_returned_unchanged(size: tuple[int, ...]) -> None:
    keep = TemporalFilter()
    for value in (0, 0, 0, 255, 255, 0, 255, 0, 128, 128):
        np.testing.assert_array_equal(keep(np.full(size, value, np.uint8)), value)


@settings(max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 255), st.integers(0, 255), st.integers(0, 80)
)
def test_no_value_leaves_the_range_of_the_input(
    height: int, width: int, gray: bool, one: int, other: int, sigma: int
) -> None:
    rng = np.random.default_rng(height * 41 + width)
    low, high = sorted((one, other))
    scene = rng.integers(low, high + 1, (height, width) if gray else (height, width, 3))
    keep = TemporalFilter()
    least, most = 255, 0
    for _ in range(8):
        frame = np.clip(np.rint(scene + rng.normal(0, sigma, scene.shape)), low, high).astype(np.uint8)
        least, most = min(least, frame.min()), max(most, frame.max())
        result = keep(frame)
        assert least <= result.min() <= result.max() <= most


@pytest.mark.parametrize(("noise", "wanted"), [(white(10), 25), (white(25), 156), (white(4), 4)])
@pytest.mark.parametrize("step", [0, 1])
def test_the_noise_is_estimated_correctly(photo: np.ndarray, noise: Degrade, wanted: float, step: float) -> None:
    gray = cv2.GaussianBlur(photo // 2 + 64, (0, 0), 3)
    frames = [noisy for _, noisy in video(pan(gray, step, 0, WIDTH, HEIGHT), noise, 8, 11)]
    small = [cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32) for f in frames]
    level = NoiseLevel()
    for before, frame in pairwise(small):
        level.measure(frame, before, cells(sum(small) / np.float32(len(small))))
    found = level.variance(cells(small[0])).mean()
    assert 0.85 * wanted < found < (1.15 if step == 0 else 1.5) * wanted
    assert level.smoothness < 1.2


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (np.zeros((4, 4), np.float32), "dtype is float32"),
        (np.zeros((4, 4, 4), np.uint8), r"shape is \(4, 4, 4\)"),
        (np.zeros((0, 4), np.uint8), r"shape is \(0, 4\)"),
        ([[1]], "a list"),
    ],
)
def test_arrays_that_are_not_frames_are_refused(frame: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        TemporalFilter()(frame)
