"""Computations of the window for pictures, without a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_runtime import Restorer
from cae_runtime.io.image_files import Picture, decode
from cae_runtime.io.metadata import Metadata
from cae_runtime.io.orientation import upright
from cae_runtime.jobs.previews.screen_colors import seen_as
from cae_runtime.view.background import Background, Wanted
from cae_runtime.view.layer import Layer, layer_of
from cae_runtime.view.placement import Placement
from cae_runtime.view.tiles import Box, Grid


@settings(max_examples=30)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 31), st.data())
def test_tiles_cover_the_visible_part_first_and_then_the_rest_once(
    height: int, width: int, overlap: int, data: st.DataObject
) -> None:
    grid = Grid(height, width, 32, overlap)
    count = np.zeros((height, width), np.uint8)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    seen = Box(top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width)))
    for find in (lambda: grid.next_tile(seen), lambda: grid.nearest_tile(seen.middle)):
        while tile := find():
            assert not grid.done[tile.cells.rows, tile.cells.columns].all()
            grid.done[tile.cells.rows, tile.cells.columns] = True
            count[tile.box.rows, tile.box.columns] = 1
            assert tile.around.top <= tile.box.top < tile.box.bottom <= tile.around.bottom <= height
            assert tile.around.left <= tile.box.left < tile.box.right <= tile.around.right <= width
        assert count[seen.rows, seen.columns].all()
    assert count.all()


@pytest.mark.parametrize("overlap", [None, 0, 5, 20])
@pytest.mark.parametrize("size", [(900, 411), (31, 700), (500, 425, 3)])
@pytest.mark.parametrize("model", ["denoise-fast", "blur"])
def test_tiles_equal_the_whole_picture(
    fixture_model: Callable[[str], Path], noise: Callable[..., np.ndarray], model: str,
    size: tuple[int, ...], overlap: int | None,
) -> None:  # fmt: skip
    picture = noise(size)
    with Restorer(model if "-" in model else fixture_model(model), overlap=overlap, provider="cpu") as restore:
        layer = Layer(picture, 1, restore)
        cleaned = 0
        while tile := layer.next_tile(Box(0, 0, 30, 30)) or layer.next_tile(None):
            layer.clean(tile)
            cleaned += 1
        assert cleaned > 1
        whole = restore(picture)
    expected = whole if whole.ndim == 3 else np.dstack([whole] * 3)
    order = 1 if overlap == 20 else 0  # where three patches overlap, sums of other parts round otherwise
    np.testing.assert_allclose(layer.cleaned.astype(int), expected, rtol=0, atol=order)
    assert layer.complete


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_visible_part_is_cleaned_first_in_any_orientation(
    fixture_model: Callable[[str], Path], orientation: int
) -> None:
    stored = np.full((1000, 1600, 3), 200, np.uint8)
    with Restorer(fixture_model("half_red"), provider="cpu") as restore:
        layer = Layer(stored, orientation, restore)
        height, width = layer.original.shape[:2]
        seen = Box(20, width - 60, 40, width - 10)
        tile = layer.next_tile(seen)
        assert tile is not None
        layer.clean(tile)
    assert layer.original.shape == upright(stored, orientation).shape
    assert (layer.cleaned[seen.rows, seen.columns, 2] == 100).all()
    assert layer.next_tile(seen) is None
    assert 0 < layer.share < 0.2
    assert height * width > np.count_nonzero(layer.cleaned[..., 2] == 100)


@given(
    st.tuples(*[st.integers(1, 3000)] * 4),
    st.lists(st.one_of(
        st.tuples(st.just("zoom"), st.integers(-3, 3), st.integers(0, 500)),
        st.tuples(st.just("move"), st.integers(-9000, 9000), st.integers(-9000, 9000)),
        st.tuples(st.just("resize"), st.integers(1, 2000), st.integers(1, 2000)),
    ), max_size=6),
)  # fmt: skip
def test_the_visible_part_always_fills_its_place_in_the_window(
    sides: tuple[int, int, int, int], changes: list[tuple[str, int, int]]
) -> None:
    placement = Placement(sides[:2], sides[2:])
    for kind, first, second in changes:
        if kind == "zoom":
            placement.zoom(first, (second, second // 2))
        elif kind == "move":
            placement.move(first, second)
        else:
            placement.resized((first, second))
    where, box = placement.where, placement.seen()
    assert 0 <= box.left < box.right <= sides[0]
    assert 0 <= box.top < box.bottom <= sides[1]
    if not placement.whole:
        picture = np.zeros((sides[1], sides[0], 3), np.uint8)
        assert placement.magnified(placement.part(picture)).shape == (where.height, where.width, 3)


def picture_of(pixels: np.ndarray) -> Picture:
    return Picture(pixels, "TIFF", Metadata(), lossless=False)


def test_deep_transparent_and_floating_point_pictures_equal_the_command(
    fixture_model: Callable[[str], Path], noise: Callable[..., np.ndarray]
) -> None:
    pictures = [noise((90, 70, 3), np.uint16), noise((90, 70, 4)), noise((90, 70, 2)),
                noise((90, 70)).astype(np.float32) * 50 - 900]  # fmt: skip
    pictures[1][:40, :, 3] = 0
    with Restorer(fixture_model("half_red"), provider="cpu") as restore:
        for pixels in pictures:
            layer = layer_of(picture_of(pixels), restore)
            while tile := layer.next_tile(None):
                layer.clean(tile)
            assert not layer.complete
            layer.finish(lambda *_: None)
            assert layer.complete
            if pixels.dtype == np.float32:
                assert np.ptp(layer.original) > 200, "its range is that of the screen"
                continue
            expected = seen_as(restore(pixels), pixels)
            np.testing.assert_array_equal(layer.cleaned, expected)
    assert (seen_as(pictures[1], pictures[1])[:40] == 128).all(), "transparent pixels lie on gray"


def test_the_background_thread_reads_cleans_and_ends(fixture_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.full((1500, 2000, 3), 200, np.uint8))
    with Restorer(fixture_model("half_red"), provider="cpu") as restore:
        background = Background()
        background.want(Wanted((Box(0, 0, 10, 10),), (200, 150)))
        background.open(path, restore)
        until = time.monotonic() + 30
        while not (background.small and background.small.taken):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert background.full
        assert background.full.complete
        assert (background.small.cleaned[..., 2] == 100).all()
        before = background.version
        background.open(tmp_path / "missing.png", restore)
        while not background.failed:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert background.version > before
        assert background.failed == "cannot be read: No such file or directory"
        assert background.full is None
        background.close()


def test_the_exif_orientation_is_applied(tmp_path: Path, fixture_model: Callable[[str], Path]) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), (200, 200, 200)).save(tmp_path / "turned.jpg", exif=exif)
    with Restorer(fixture_model("half_red"), provider="cpu") as restore:
        layer = layer_of(decode((tmp_path / "turned.jpg").read_bytes()), restore)
        assert layer.size == (20, 40)
        assert layer.smaller((10, 20)).original.shape == (20, 10, 3)
