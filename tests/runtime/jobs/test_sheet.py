"""`cae-run photos/ --sheet sheet.png`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cae_runtime.io.contact_sheet import CELL
from cae_runtime.jobs.previews.before_after import detail_of

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = np.full((900, 700, 3), 180, np.uint8)
    picture[300:340, 500:560] = 240  # the detail
    cv2.imwrite(str(folder / "large.png"), picture)
    cv2.imwrite(str(folder / "deep.png"), np.full((50, 40, 3), 40000, np.uint16))
    (folder / "clip.mp4").write_bytes(b"a video's name is enough")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_a_sheet_shows_each_picture_before_and_after(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = cae_run(photos, "--sheet", sheet, model="half_red")
    assert done.returncode == 1
    assert b"broken.png" in done.stderr
    assert b"drew 2 images" in done.stderr
    assert b"note: 1 video left out: only images are supported here" in done.stderr
    drawn = np.asarray(cv2.imread(str(sheet)))
    assert drawn.shape[1] == 6 * (CELL + 16), "two pictures in a row, each with two details"
    before, after = (drawn[8 : 8 + CELL, 8 + column * (CELL + 16) :][:, :CELL].astype(int) for column in (4, 5))
    assert before.max() == 240, "the detail in which something is to be seen"
    np.testing.assert_allclose(after[..., 2], before[..., 2] / 2, atol=1)
    np.testing.assert_array_equal(after[..., :2], before[..., :2])
    assert sorted(path.name for path in photos.iterdir()) == ["broken.png", "clip.mp4", "deep.png", "large.png"]


def test_a_sheet_shows_the_first_frame_or_page_and_floating_point_pictures(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    page = np.full((200, 200, 3), 200, np.uint8)
    frames = [Image.fromarray(page), Image.fromarray(page // 4)]
    frames[0].save(tmp_path / "in" / "a.gif", save_all=True, append_images=frames[1:])
    with tifffile.TiffWriter(tmp_path / "in" / "b.tif") as pages:
        pages.write(page, photometric="rgb")
        pages.write(page[:50].astype(np.uint16), photometric="rgb")
    light = np.repeat(np.linspace(-300, 900, 200, dtype=np.float32)[None, :, None], 200, axis=0)
    tifffile.imwrite(tmp_path / "in" / "c.tif", np.repeat(light, 3, axis=2), photometric="rgb")
    done = cae_run(tmp_path / "in", "--sheet", tmp_path / "sheet.png", model="half_red")
    assert (done.returncode, b"drew 3 images" in done.stderr) == (0, True), done.stderr
    assert b"a.gif': it has 2 frames: the first is shown (and 1 more)" in done.stderr
    drawn = np.asarray(cv2.imread(str(tmp_path / "sheet.png"))).astype(int)
    middles = [drawn[8 + CELL // 2, 8 + column * (CELL + 16) + CELL // 2] for column in (1, 2, 4)]
    assert np.abs(np.array(middles) - [(200, 200, 200), (200, 200, 100), (200, 200, 200)]).max() <= 2
    row = drawn[drawn.shape[0] // 2 + CELL // 2, 8 : 8 + CELL]  # of the floating-point picture
    assert row[:2].max() < 10 < 245 < row[-2:].min()


def test_a_sheet_is_replaced_only_with_overwrite_and_never_shows_itself(
    cae_run: Command, photos: Path
) -> None:  # fmt: skip
    (photos / "broken.png").unlink()
    sheet = photos / "sheet.jpg"
    assert cae_run(photos, "--sheet", sheet).returncode == 0
    first = sheet.read_bytes()
    again = cae_run(photos, "--sheet", sheet)
    assert again.returncode == 2
    assert b"exists (--overwrite replaces it)" in again.stderr
    assert cae_run(photos, "--sheet", sheet, "--overwrite").returncode == 0
    assert sheet.read_bytes() == first


def test_options_that_a_sheet_does_not_use_are_refused(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    for words, told in [
        ((photos, "--sheet", tmp_path / "sheet.txt"), "an image's name must end in one of .jpg"),
        ((photos, "--sheet", tmp_path), "an image's name must end in"),
        ((photos, "--sheet", tmp_path / "a.png", "-o", tmp_path), "--sheet draws a sheet and writes no pictures"),
        (("--sheet", tmp_path / "a.png"), "--sheet needs pictures"),
        (("-", "--sheet", tmp_path / "a.png"), "--sheet takes files and folders, and no -"),
        ((photos, "--sheet", tmp_path / "a.png", "--view"), "give only one of --view and --sheet"),
    ]:
        done = cae_run(*words)
        assert done.returncode == 2
        assert told in done.stderr.decode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_the_detail_lies_inside_the_picture() -> None:
    for shape in [(1, 1), (3, 900), (900, 3), (192, 192), (5000, 300)]:
        top, left = detail_of(np.zeros((*shape, 3), np.uint8))
        assert 0 <= top <= max(0, shape[0] - CELL)
        assert 0 <= left <= max(0, shape[1] - CELL)
