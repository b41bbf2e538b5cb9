"""Holes in pictures, through the real command. The fixture `inpaint` gives each pixel the mean of the 3x3 around it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import ImageError, ModelError, Restorer, UsageError
from cae_runtime.io.arrays import colors_of
from cae_runtime.tasks.inpaint import Inpainter
from cae_runtime.tasks.surrounding_colors import within_surroundings

Noise = Callable[..., np.ndarray]
MAGENTA = (1, 0, 1)  # what a missing pixel is to the fixture


@pytest.fixture
def photo(tmp_path: Path, noise: Noise) -> np.ndarray:
    image = noise((50, 70, 3))
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    return image


def stroke(image: np.ndarray) -> np.ndarray:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.line(mask, (5, 10), (60, 40), 255, 4)
    return mask


def only_the_holes_changed(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> bool:
    changed = (before != after).any(axis=2) if before.ndim == 3 else before != after
    return bool(not changed[mask == 0].any() and changed[mask > 0].mean() > 0.5)


def test_a_mask_file_marks_the_holes(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), stroke(photo))
    out = tmp_path / "out.png"
    done = cae_run(tmp_path / "photo.png", "-o", out, "--mask", tmp_path / "mask.png", model="inpaint")
    assert done.returncode == 0, done.stderr
    assert only_the_holes_changed(photo, cv2.imread(str(out)), stroke(photo))


def test_a_color_marks_the_holes(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    mask = stroke(photo)
    photo[mask > 0] = (255, 0, 255)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    for color in ("#ff00ff", "f0f", "FF00FF"):
        out = tmp_path / f"{color}.png"
        assert cae_run(tmp_path / "photo.png", "-o", out, "--mask-color", color, model="inpaint").returncode == 0
        assert only_the_holes_changed(photo, cv2.imread(str(out)), mask)


def test_a_16_bit_color_is_found_and_a_missing_color_is_reported(
    cae_run: Command, noise: Noise, tmp_path: Path
) -> None:
    image = noise((50, 70, 3), np.uint16)
    mask = stroke(image)
    image[mask > 0] = (65535, 0, 257 * 0x80)
    cv2.imwrite(str(tmp_path / "deep.png"), image)
    cv2.imwrite(str(tmp_path / "marked.jpg"), image >> 8)
    cv2.imwrite(str(tmp_path / "none.png"), noise((40, 40, 3)))
    done = cae_run(
        *(tmp_path / name for name in ("deep.png", "marked.jpg", "none.png")), "-o", tmp_path / "out",
        "--mask-color", "#8000ff", model="inpaint",
    )  # fmt: skip
    assert done.returncode == 1
    assert b"is a lossy JPEG, which does not keep a color exactly" in done.stderr
    assert b"has no pixel of the color #8000ff" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deep.png", "none.png"]
    result = cv2.imread(str(tmp_path / "out" / "deep.png"), cv2.IMREAD_UNCHANGED)
    assert only_the_holes_changed(image, result, mask)


def test_an_output_never_overwrites_a_mask(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    mask, masks = tmp_path / "mask.png", tmp_path / "masks"
    masks.mkdir()
    for path in (mask, masks / "photo.png"):
        cv2.imwrite(str(path), stroke(photo))
    before = mask.read_bytes()
    for out, named in ((mask, mask), (masks, masks), (masks / "photo.png", masks)):
        done = cae_run(tmp_path / "photo.png", "-o", out, "--mask", named, "--overwrite", model="inpaint")
        assert (done.returncode, b"over or among the masks" in done.stderr) == (2, True)
    assert mask.read_bytes() == (masks / "photo.png").read_bytes() == before
    done = cae_run(tmp_path / "photo.png", "-o", tmp_path / "out.png", "--mask", "", model="inpaint")
    assert (done.returncode, b"--mask is empty" in done.stderr) == (2, True)


def test_an_inpainting_model_without_a_mask_gives_a_note(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    done = cae_run(tmp_path / "photo.png", "-o", tmp_path / "out.png", model="inpaint")
    assert (done.returncode, b"was trained to fill holes: name them with a mask" in done.stderr) == (0, True)


def test_transparent_pixels_of_a_mask_mark_nothing(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    mask = stroke(photo)
    drawn = np.full((*mask.shape, 4), 255, np.uint8)
    drawn[..., 3] = mask
    cv2.imwrite(str(tmp_path / "mask.png"), drawn)
    out = tmp_path / "out.png"
    assert cae_run(tmp_path / "photo.png", "-o", out, "--mask", tmp_path / "mask.png", model="inpaint").returncode == 0
    assert only_the_holes_changed(photo, cv2.imread(str(out)), mask)


def test_a_folder_of_masks_is_matched_by_name(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    photos, masks, out = tmp_path / "photos", tmp_path / "masks", tmp_path / "out"
    images = {"a.jpg": noise((40, 40, 3)), "below/b.png": noise((64, 40)), "c.png": noise((40, 64, 3))}
    for name, image in images.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(photos / name), image)
        if name != "c.png":
            mask = (masks / name).with_suffix(".gif" if name == "a.jpg" else ".BMP")
            Image.fromarray(stroke(image)).save(mask)
    done = cae_run(photos, "-o", out, "--mask", masks, "--ext", "png", "--suffix", "_x", model="inpaint")
    assert done.returncode == 1
    assert b"it has no mask" in done.stderr
    assert sorted(path.name for path in out.rglob("*.png")) == ["a_x.png", "b_x.png"]
    image = cv2.imread(str(photos / "a.jpg"))
    assert only_the_holes_changed(image, cv2.imread(str(out / "a_x.png")), stroke(image))


@settings(max_examples=40)
@given(
    height=st.sampled_from([1, 8, 31, 32, 33, 64, 65]),
    width=st.sampled_from([1, 8, 31, 32, 33, 64, 100]),
    channels=st.sampled_from([0, 1, 2, 3, 4]),
    deep=st.booleans(),
    share=st.sampled_from([0.01, 0.3, 0.9]),
    seed=st.integers(0, 99),
)
def test_only_holes_change_and_all_of_them_are_filled(
    height: int, width: int, channels: int, deep: bool, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.uint16 if deep else np.uint8
    top = np.iinfo(dtype).max
    shape = (height, width, channels) if channels else (height, width)
    image = rng.integers(0, top // 4, shape, dtype)
    holes = rng.random((height, width)) < share
    before = image.copy()
    restorer = Restorer(FIXTURES / "inpaint.onnx", overlap=16)
    inpainter = Inpainter(restorer)
    if holes.all():
        with pytest.raises(ImageError, match="covers all of it"):
            inpainter(image, holes)
        return
    result = inpainter(image, holes)
    np.testing.assert_array_equal(image, before)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(result[~holes], image[~holes])
    if channels in (2, 4):
        np.testing.assert_array_equal(result[..., -1], image[..., -1])
    depth = cv2.distanceTransform(holes.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if holes.any() and depth.max() <= 4:  # one pass: what the model makes of the picture with its holes marked
        known = colors_of(image)
        marked = np.repeat(known, 3, axis=2) if known.shape[2] == 1 else known.copy()
        marked[holes] = np.array(MAGENTA) * top
        made = restorer(marked)[holes].astype(int)
        wanted = made if known.shape[2] == 3 else made.mean(axis=1, keepdims=True)
        error = np.abs(colors_of(result)[holes].astype(int) - wanted)  # the fixture errs at the edges of patches
        assert error.max() <= top // 8
        assert error.mean() <= top // 200 + top // 8 / len(error)  # one hole may lie there


@pytest.mark.parametrize("channels", [1, 3])
def test_filled_colors_stay_within_the_surrounding_colors(noise: Noise, channels: int) -> None:
    image, where = noise((20, 30, channels)), np.zeros((20, 30), np.bool_)
    where[0, 3] = where[10:13, 10:13] = where[-1, -1] = True
    made = noise((int(where.sum()), channels)).astype(np.float32) * 3 - 200
    found = within_surroundings(made, image, where, where, 8)
    for (y, x), color in zip(np.argwhere(where), found, strict=True):
        rows, columns = slice(max(0, y - 8), y + 9), slice(max(0, x - 8), x + 9)
        known = image[rows, columns][~where[rows, columns]].astype(int)
        assert known[:, channels // 2].min() <= color[channels // 2] <= known[:, channels // 2].max()
        for channel in {0, channels - 1} - {channels // 2}:
            off = known[:, channel] - known[:, 1]
            assert off.min() <= color[channel] - color[1] <= off.max()
    inside = within_surroundings(np.full_like(made, 100), np.full_like(image, 100), where, where, 8)
    np.testing.assert_array_equal(inside, 100)


def test_surrounding_colors_are_found_with_little_memory(noise: Noise) -> None:
    image, where, reach = noise((150, 170, 3)), np.zeros((150, 170), np.bool_), 40
    where[20:25, 5:165] = where[20:140, 60:66] = where[0, 0] = True
    unknown = where | (noise((150, 170)) < 100)
    made = noise((int(where.sum()), 3)).astype(np.float32) * 3 - 200
    tracemalloc.start()
    found = within_surroundings(made, image, where, unknown, reach)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    steps = np.r_[-reach : -reach // 2 : 2, -reach // 2 : reach // 2 + 1, reach // 2 + 2 : reach + 1 : 2]
    for index in range(0, len(made), 37):
        y, x = np.argwhere(where)[index]
        rows, columns = (y + steps).clip(0, 149)[:, None], (x + steps).clip(0, 169)
        known = image[rows, columns][~unknown[rows, columns]].astype(np.float32)
        middle = made[index, 1].clip(known[:, 1].min(), known[:, 1].max())
        assert found[index, 1] == middle
        for channel in (0, 2):
            off = known[:, channel] - known[:, 1]
            assert found[index, channel] == middle + (made[index, channel] - made[index, 1]).clip(off.min(), off.max())


def test_a_lossy_output_gives_a_note_that_it_changes_more(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), stroke(photo))
    for name, lossy in (("out.jpg", True), ("out.png", False)):
        done = cae_run("photo.png", "-o", name, "--mask", "mask.png", "--json", model="inpaint", cwd=tmp_path)
        told = b"'out.jpg': lossy formats (JPEG, AVIF, HEIC, lossy WebP) change all pixels a little, also those that no"
        assert (told in done.stderr) == json.loads(done.stdout)["files"][0]["lossy"] == lossy
        assert b"--ext" not in done.stderr, "which a file that is named in full does not take"


@pytest.mark.slow
def test_a_hole_wider_than_a_patch_is_filled_from_its_border_inwards(blur_far: Path) -> None:
    """What is known is dark. One pass cannot see that from the middle of a hole of 100 pixels; many passes carry it."""
    image = np.zeros((140, 140, 3), np.uint8)
    holes = np.zeros((140, 140), np.bool_)
    holes[20:120, 20:120] = True
    restorer = Restorer(blur_far, overlap=16)
    once = image.copy()
    once[holes] = np.array(MAGENTA) * 255
    assert restorer(once)[70, 70].tolist() == [255, 0, 255]
    filled = Inpainter(restorer)(image, holes)
    assert (filled == 0).all(), "no color of the marks"


@pytest.fixture
def blur_far(tmp_path: Path) -> Path:
    """A model that gives each pixel the mean of the 31x31 around it."""
    onnx = pytest.importorskip("onnx")
    made = onnx.load(FIXTURES / "inpaint.onnx")
    (node,) = made.graph.node
    for attribute in node.attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = [31, 31]
        elif attribute.name == "pads":
            attribute.ints[:] = [15] * 4
    path = tmp_path / "far.onnx"
    onnx.save(made, path)
    return path


def test_a_one_channel_model_fills_each_color(tmp_path: Path) -> None:
    """Of a red picture, red: not the gray of its luminance."""
    onnx = pytest.importorskip("onnx")
    made = onnx.load(FIXTURES / "blur_gray.onnx")
    for entry in made.metadata_props:
        if entry.key == "degradation":
            entry.value = "mask:0.2"
    onnx.save(made, tmp_path / "gray.onnx")
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 2] = 250
    holes = np.zeros((40, 40), np.bool_)
    holes[20, 20] = True
    blue, green, red = Inpainter(Restorer(tmp_path / "gray.onnx"))(image, holes)[20, 20].tolist()
    assert red > 200 > 60 > max(blue, green)


def test_a_picture_without_holes_does_not_change(noise: Noise) -> None:
    image = noise((40, 50, 3))
    result = Inpainter(Restorer(FIXTURES / "inpaint.onnx"))(image, np.zeros((40, 50), np.bool_))
    np.testing.assert_array_equal(result, image)
    assert result is not image


def test_a_mask_is_rotated_like_its_photo(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    """A phone's photo lies on its side and says so; its mask was drawn on what a viewer shows."""
    image = noise((40, 64, 3))
    exif = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")  # orientation 6
    done, data = cv2.imencodeWithMetadata(".png", image, [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif, np.uint8)])
    assert done
    (tmp_path / "photo.png").write_bytes(data.tobytes())
    seen = np.zeros((64, 40), np.uint8)
    seen[:5, :10] = 255  # top left as it is seen: bottom left as it is stored
    cv2.imwrite(str(tmp_path / "mask.png"), seen)
    out = tmp_path / "out.png"
    assert cae_run(tmp_path / "photo.png", "-o", out, "--mask", tmp_path / "mask.png", model="inpaint").returncode == 0
    stored = np.zeros((40, 64), np.uint8)
    stored[-10:, :5] = 255
    result = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert only_the_holes_changed(image, result, stored)


@pytest.mark.parametrize(
    ("options", "model", "code", "reason"),
    [
        (["--mask", "none.png"], "inpaint", 2, "--mask 'none.png' does not exist"),
        (["--mask-color", "pink"], "inpaint", 2, "--mask-color is 'pink': it must be a color like '#ff00ff'"),
        (["--mask-color", "#fff", "--mask", "small.png"], "inpaint", 2, "give --mask or --mask-color, not both"),
        (["--mask-color", "#fff", "--strength", "0.5"], "inpaint", 2, "fills holes, which takes no --strength"),
        (["--grow", "2"], "inpaint", 2, "--grow needs --mask or --mask-color"),
        (["--mask-color", "#fff", "--invert-mask"], "inpaint", 2, "--invert-mask needs --mask"),
        (["--mask-color", "#fff", "--grow", "101"], "inpaint", 2, "--grow is 101: it must be 0..100"),
        (["--mask", "white.png", "--invert-mask"], "inpaint", 1, "marks all of it, and so nothing once it is inverted"),
        (["--mask-color", "#123456"], "inpaint", 1, "has no pixel of the color #123456"),
        (["--mask-color", "#fff"], "blur", 2, "filling holes needs 'fill', or a model that was trained on masks"),
        (["--mask", "small.png"], "inpaint", 1, "has 70x50 pixels, its mask 'small.png' has 9x9"),
        (["--mask", "white.png"], "inpaint", 1, "its mask covers all of it"),
        (["--mask", "text.png"], "inpaint", 1, "its mask 'text.png' is"),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    cae_run: Command, photo: np.ndarray, tmp_path: Path, options: list[str], model: str, code: int, reason: str
) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(tmp_path / "white.png"), np.full(photo.shape[:2], 255, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    done = cae_run("photo.png", "-o", "out.png", *options, model=model, cwd=tmp_path)
    assert done.returncode == code
    assert reason in done.stderr.decode()
    assert not (tmp_path / "out.png").exists()


def test_masks_are_refused_for_videos_and_pipes(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    done = cae_run("film.mp4", "-o", "out", "--mask-color", "#fff", model="inpaint", cwd=tmp_path)
    assert (done.returncode, b"holes are filled in images" in done.stderr) == (2, True)
    done = cae_run("photo.png", "-o", "-", "--mask-color", "#fff", model="inpaint", cwd=tmp_path)
    assert (done.returncode, b"- cannot be combined with --mask-color" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("degradation", "fills"),
    [
        ("mask:0.2", True),
        ("gaussian:5 mask:0.1-0.3", True),
        ("gaussian:5,mask:0.1", True),
        ("mask:0.1 gaussian:25", False),
        ("gaussian:0-55", False),
        ("", False),
    ],
)
def test_only_models_trained_on_holes_fill_them(degradation: str, fills: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    made = onnx.load(FIXTURES / "fill.onnx")
    for entry in made.metadata_props:
        if entry.key == "degradation":
            entry.value = degradation
    onnx.save(made, tmp_path / "m.onnx")
    restorer = Restorer(tmp_path / "m.onnx")
    if fills:
        Inpainter(restorer)
    else:
        with pytest.raises(ModelError, match="does not fill holes"):
            Inpainter(restorer)


def test_a_mask_that_marks_nothing_is_reported(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    photos, masks, out = tmp_path / "photos", tmp_path / "masks", tmp_path / "out"
    photos.mkdir()
    masks.mkdir()
    for name, mask in (("a", stroke(photo) // 9), ("b", stroke(photo)), ("c", np.zeros(photo.shape[:2], np.uint8))):
        cv2.imwrite(str(photos / f"{name}.jpg"), photo)
        cv2.imwrite(str(masks / f"{name}.png"), mask)
    done = cae_run(photos / "a.jpg", "-o", tmp_path / "a.jpg", "--mask", masks, model="inpaint")
    assert (done.returncode, b"a.jpg' has a mask that marks nothing" in done.stderr) == (1, True)
    assert not (tmp_path / "a.jpg").exists()
    done = cae_run(photos, "-o", out, "--mask", masks, "--json", model="inpaint")
    share = float((stroke(photo) > 0).mean())
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert [file["filled"] for file in report["files"]] == [0, share, 0]
    assert (report["totals"]["done"], report["totals"]["copied"]) == (3, 2)
    assert (out / "a.jpg").read_bytes() == (photos / "a.jpg").read_bytes() != (out / "b.jpg").read_bytes()
    told = done.stderr.decode()
    assert "a.jpg': it has a mask that marks nothing" in told
    assert f"b.jpg': {100 * share:.3g} % of its pixels were filled" in told
    assert "filled 1 image in" in told
    assert "2 copied unchanged, since nothing in them is marked" in told


def layer(color: tuple[int, int, int], alpha: np.ndarray) -> np.ndarray:
    return np.dstack([np.full((*alpha.shape, 3), color, np.uint8), alpha])


@pytest.mark.parametrize("kind", ["of 0 and 1", "16 bits of 0 and 255", "alpha alone", "red", "a lossy one"])
def test_usual_kinds_of_masks_are_understood(kind: str, cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    mask = stroke(photo)
    drawn = {
        "of 0 and 1": mask // 255, "16 bits of 0 and 255": mask.astype(np.uint16),
        "alpha alone": layer((0, 0, 0), mask), "red": layer((0, 0, 255), mask), "a lossy one": np.dstack([mask] * 3),
    }[kind]  # fmt: skip
    name = "mask.jpg" if "lossy" in kind else "mask.png"
    cv2.imwrite(str(tmp_path / name), drawn)
    done = cae_run("photo.png", "-o", "out.png", "--mask", name, model="inpaint", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = cv2.imread(str(tmp_path / "out.png"))
    around = mask if "lossy" not in kind else cv2.dilate(mask, np.ones((3, 3), np.uint8))
    np.testing.assert_array_equal(result[around == 0], photo[around == 0])
    assert (result != photo).any(axis=2)[mask > 0].mean() > 0.9


@pytest.mark.parametrize("name", ["mask.jpg", "mask.webp"])
def test_coding_artifacts_in_a_black_lossy_mask_mark_nothing(
    name: str, cae_run: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    mask = np.ones(photo.shape, np.uint8)
    cv2.imwrite(str(tmp_path / name), mask, [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_WEBP_QUALITY, 100])
    assert cv2.imread(str(tmp_path / name)).max() == 1
    done = cae_run("photo.png", "-o", "out.png", "--mask", name, model="inpaint", cwd=tmp_path)
    assert (done.returncode, b"has a mask that marks nothing" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("float.tif", ["--mask-color", "#f0f"], "has floating-point values, in which no color marks holes"),
        ("photo.avif", ["--mask-color", "#f0f"], "is a lossy AVIF, which does not keep a color exactly"),
        ("photo.webp", ["--mask-color", "#f0f"], "is a lossy WebP, which does not keep a color exactly"),
        ("photo.png", ["--mask", "float.tif"], "its mask 'float.tif' has floating-point values: save it with integers"),
        ("photo.png", ["--mask", "pages.tif"], "its mask 'pages.tif' has several frames or pages: save the one"),
    ],
)
def test_a_mask_that_cannot_mark_anything_reliably_is_refused(
    name: str, options: list[str], reason: str, cae_run: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    mask = stroke(photo)
    photo[mask > 0] = (255, 0, 255)
    cv2.imwrite(str(tmp_path / "float.tif"), photo.astype(np.float32))
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [mask, mask])
    if name.startswith("photo"):
        cv2.imwrite(str(tmp_path / name), photo, [cv2.IMWRITE_WEBP_QUALITY, 100])
    done = cae_run(name, "-o", "out.tif", *options, model="inpaint", cwd=tmp_path)
    assert (done.returncode, reason in done.stderr.decode()) == (1, True), done.stderr
    assert not (tmp_path / "out.tif").exists()


def test_gray_mask_values_blend_in_command_and_library_alike(
    cae_run: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    soft = cv2.GaussianBlur(stroke(photo), (0, 0), 3).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), soft)
    assert cae_run("photo.png", "-o", "out.png", "--mask", "mask.png", model="inpaint", cwd=tmp_path).returncode == 0
    result = cv2.imread(str(tmp_path / "out.png"))
    with Inpainter(FIXTURES / "inpaint.onnx") as inpainter:
        np.testing.assert_array_equal(inpainter(photo, soft), result)
        np.testing.assert_array_equal(inpainter(photo, soft.astype(np.uint16) * 257), result)
        whole = inpainter(photo, soft > 31)
    np.testing.assert_array_equal(result[soft < 32], photo[soft < 32])
    middle = (soft > 31) & (soft < 224)
    share = soft[middle][:, None] / 255
    wanted = photo[middle] * (1 - share) + whole[middle] * share
    np.testing.assert_allclose(result[middle], wanted, atol=1)


def test_masks_can_be_inverted_and_grown(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    mask = stroke(photo)
    larger = np.asarray(cv2.distanceTransform(255 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= 3)
    cv2.imwrite(str(tmp_path / "mask.png"), 255 - mask)
    options = ("--mask", "mask.png", "--invert-mask", "--grow", "3", "--json")
    done = cae_run("photo.png", "-o", "out.png", *options, model="inpaint", cwd=tmp_path)
    assert json.loads(done.stdout)["files"][0]["filled"] == pytest.approx(larger.mean())
    result = cv2.imread(str(tmp_path / "out.png"))
    assert only_the_holes_changed(photo, result, larger.astype(np.uint8))
    with Inpainter(FIXTURES / "inpaint.onnx") as inpainter:
        np.testing.assert_array_equal(inpainter(photo, 255 - mask, invert=True, grow=3), result)
        softly = inpainter(photo, cv2.GaussianBlur(mask, (0, 0), 2), grow=2)
        assert (softly != photo).any(axis=2).mean() > larger.mean()
        for wrong in ({"grow": -1}, {"grow": 101}, {"grow": 1.5}, {"invert": 1}):
            with pytest.raises(UsageError, match=next(iter(wrong))):
                inpainter(photo, mask, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["an erased photograph", "black", "white"])
def test_an_inverted_mask_with_transparency_fills_the_transparent_part(
    kind: str, cae_run: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    erased = stroke(photo)
    kept = np.asarray(255 - erased, np.uint8)
    color = {"black": (0, 0, 0), "white": (255, 255, 255)}.get(kind)
    drawn = np.dstack([photo, kept]) if color is None else layer(color, kept)
    cv2.imwrite(str(tmp_path / "erased.png"), drawn)
    options = ("--mask", "erased.png", "--invert-mask", "--json")
    done = cae_run("photo.png", "-o", "out.png", *options, model="inpaint", cwd=tmp_path)
    assert json.loads(done.stdout)["files"][0]["filled"] == pytest.approx((erased > 0).mean()), done.stderr
    assert only_the_holes_changed(photo, cv2.imread(str(tmp_path / "out.png")), erased)


def test_a_picture_without_filled_pixels_is_not_reported_as_filled(
    cae_run: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.full(photo.shape[:2], 255, np.uint8))
    done = cae_run("photo.png", "-o", "out.png", "--mask", "mask.png", model="inpaint", cwd=tmp_path)
    assert (done.returncode, b"filled nothing, " in done.stderr) == (1, True)


def test_filling_more_than_half_of_a_picture_gives_a_note(cae_run: Command, photo: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), 255 - stroke(photo))
    for options, hint in (((), b"--invert-mask fills what it does not mark"), (("--invert-mask",), b"")):
        done = cae_run("photo.png", "-o", "out.png", "--mask", "mask.png", *options, "--overwrite", model="inpaint",
                       cwd=tmp_path)  # fmt: skip
        assert (b"more than half of it was filled" in done.stderr) == bool(hint)
        assert hint in done.stderr


def test_progress_is_reported_within_a_thin_hole() -> None:
    image, mask = np.full((600, 600, 3), 90, np.uint8), np.zeros((600, 600), bool)
    mask[300] = True
    told: list[tuple[int, int]] = []
    with Inpainter(FIXTURES / "inpaint.onnx", batch=4) as fill:
        fill(image, mask, progress=lambda done, total: told.append((done, total)))
    assert len(told) > 5
    assert told == sorted(told)
    assert told[-1] == (600, 600)


def test_progress_is_reported_and_can_stop_filling(noise: Callable[..., np.ndarray]) -> None:
    image, mask = noise((60, 60, 3)), np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    told: list[tuple[int, int]] = []
    with Inpainter(FIXTURES / "inpaint.onnx") as fill:
        fill(image, mask, progress=lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1] == (400, 400)
        assert len(told) > 1

        def stop(_done: int, _total: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            fill(image, mask, progress=stop)
        assert fill(image, mask).shape == image.shape
