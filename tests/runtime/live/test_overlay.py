"""Drawing of the live window, without a window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cae_runtime.live.overlay import ViewState, compose
from cae_runtime.screen.drawing import Rect, place

BLUE, GREEN = (200, 0, 0), (0, 200, 0)
KEYS = [("H", "these keys")]


def flat(color: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


@given(st.tuples(*[st.integers(1, 3000)] * 4))
def test_the_picture_keeps_its_shape_inside_the_window(sides: tuple[int, int, int, int]) -> None:
    frame, window = sides[:2], sides[2:]
    where = place(frame, window)
    assert where.left >= 0
    assert where.top >= 0
    assert where.left + where.width <= window[0]
    assert where.top + where.height <= window[1]
    assert where.width == window[0] or where.height == window[1]
    assert abs(where.width * frame[1] - where.height * frame[0]) <= max(frame)


@pytest.mark.parametrize("window", [(64, 48), (128, 96), (32, 24), (200, 48), (64, 300), (7, 5)])
def test_a_window_of_any_size_is_filled_and_the_rest_is_black(window: tuple[int, int]) -> None:
    canvas = compose(flat(BLUE), flat(GREEN), window, ViewState(), [], KEYS)
    where = place((64, 48), window)
    assert canvas.shape == (window[1], window[0], 3)
    inside = canvas[where.top : where.top + where.height, where.left : where.left + where.width]
    assert (inside == GREEN).all()
    assert canvas.any(axis=2).sum() == where.width * where.height


def test_pixels_are_shown_unscaled_if_the_sizes_match() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    canvas = compose(flat(BLUE), picture, (64, 48), ViewState(), [], KEYS)
    np.testing.assert_array_equal(canvas, picture)
    canvas[:] = 0
    assert picture.any(), "a copy: what is drawn does not get into the picture"


@pytest.mark.parametrize("divider", [0.0, 0.25, 0.5, 1.0])
def test_the_original_is_left_of_the_line_and_the_cleaned_picture_right(divider: float) -> None:
    canvas = compose(flat(BLUE), flat(GREEN), (128, 96), ViewState(compare=True, divider=divider), [], KEYS)
    row = canvas[2]
    column = round(divider * 128)
    assert (row[: max(0, column - 3)] == BLUE).all()
    assert (row[column + 3 :] == GREEN).all()


def test_the_mouse_moves_the_line_within_the_picture() -> None:
    where = Rect(left=100, top=0, width=200, height=100)
    assert [where.divider_at(x) for x in (0, 100, 150, 300, 900)] == [0, 0, 0.25, 1, 1]


@pytest.mark.parametrize("window", [(640, 480), (1920, 1080), (320, 240)])
def test_figures_keys_message_and_recording_are_drawn(window: tuple[int, int]) -> None:
    plain = compose(flat(BLUE), flat(GREEN), window, ViewState(), [], KEYS)
    for view in (
        ViewState(figures=True),
        ViewState(help=True),
        ViewState(message="saved"),
        ViewState(recording=True),
        ViewState(compare=True),
    ):
        assert (compose(flat(BLUE), flat(GREEN), window, view, ["30 frames/s", "denoise"], KEYS) != plain).any(), view


@pytest.mark.parametrize("window", [(1, 1), (20, 10), (3, 400)])
def test_everything_fits_into_the_smallest_window(window: tuple[int, int]) -> None:
    view = ViewState(compare=True, figures=True, help=True, message="saved", recording=True)
    assert compose(flat(BLUE), flat(GREEN), window, view, ["30 frames/s"], KEYS).shape == (window[1], window[0], 3)


def test_strength_changes_in_steps_within_its_range() -> None:
    view = ViewState()
    view.stronger(+1)
    assert view.strength == 1
    for _ in range(3):
        view.stronger(-1)
    assert view.strength == 0.7
    for _ in range(20):
        view.stronger(-1)
    assert view.strength == 0
