"""Task `encode`: features of pictures, through the real command."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import ModelError, UsageError
from cae_runtime.tasks.encode import Encoder

Noise = Callable[..., np.ndarray]


@pytest.fixture
def photos(tmp_path: Path, noise: Noise) -> Path:
    folder = tmp_path / "my phötos"
    (folder / "below").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), noise((40, 70, 3)))
    cv2.imwrite(str(folder / "below" / "b.png"), noise((32, 32)))
    return folder


def means(image: np.ndarray) -> np.ndarray:
    """The mean of each color, RGB in 0..1: what the fixture's features of one patch come to."""
    colors = image.reshape(*image.shape[:2], -1)
    return colors[..., ::-1].mean((0, 1)) / 255 if colors.shape[2] == 3 else np.full(3, colors.mean() / 255)


def means_of_patches(image: np.ndarray) -> np.ndarray:
    """The mean over the six patches of a picture of 70x40, where the last overlap the others."""
    return np.mean([means(image[y : y + 32, x : x + 32]) for y in (0, 8) for x in (0, 32, 38)], axis=0)


def test_the_table_has_a_row_per_image(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    done = cae_run(photos, "-o", out, "--json", "--overlap", 0, model="encode")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["images"], report["rows"], report["features"], report["failed"]) == (2, 2, 3, [])
    with np.load(out) as table:
        assert sorted(table.files) == ["features", "paths"]
        assert table["features"].dtype == np.float32
        assert table["paths"].tolist() == [str(photos / "a.png"), str(photos / "below" / "b.png")]
        np.testing.assert_allclose(table["features"][0], means_of_patches(cv2.imread(str(photos / "a.png"))), atol=1e-5)
        np.testing.assert_allclose(table["features"][1], means(cv2.imread(str(photos / "below" / "b.png"))), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["features.npz"]


def test_per_patch_gives_a_row_per_patch_with_its_position(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    assert cae_run(photos / "a.png", "-o", out, "--per-patch", "--overlap", 0, model="encode").returncode == 0
    with np.load(out) as table:
        assert table["places"].tolist() == [[0, 0], [32, 0], [38, 0], [0, 8], [32, 8], [38, 8]]
        image = cv2.imread(str(photos / "a.png"))
        patch = image[8:40, 38:70, ::-1] / np.float32(255)
        expected = patch.reshape(4, 8, 4, 8, 3).mean((1, 3)).transpose(2, 0, 1).ravel()
        np.testing.assert_allclose(table["features"][-1], expected, atol=1e-5)


def test_csv_and_npz_hold_the_same_rows(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    for extra in ([], ["--per-patch"]):
        for name in ("features.npz", "features.csv"):
            assert cae_run(photos, "-o", tmp_path / name, "--overwrite", *extra, model="encode").returncode == 0
        with np.load(tmp_path / "features.npz") as table, (tmp_path / "features.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
            first = 3 if extra else 1
            assert header == ["path", *(["x", "y"] if extra else []), *(f"f{i}" for i in range(len(header) - first))]
            assert [row[0] for row in rows] == table["paths"].tolist()
            if extra:
                assert [[int(row[1]), int(row[2])] for row in rows] == table["places"].tolist()
            values = np.array([row[first:] for row in rows], np.float32)
            np.testing.assert_allclose(values, table["features"], rtol=1e-6)


@pytest.mark.slow
def test_scikit_learn_takes_the_features_unchanged(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    out = tmp_path / "features.npz"
    assert cae_run(photos, "-o", out, "--per-patch", model="encode").returncode == 0
    with np.load(out) as table:
        labels = cluster.KMeans(2, n_init=1).fit_predict(table["features"])
        assert len(labels) == len(table["paths"])


def test_one_bad_file_does_not_stop_the_others(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (photos / "film.mp4").write_bytes(b"no film")
    phone = [f"{number}.psd" for number in range(3)]
    for name in phone:
        (photos / name).write_bytes(b"not read")
    (photos / "notes.txt").write_text("no picture")
    out = tmp_path / "features.csv"
    done = cae_run(photos, "-o", out, "--json", model="encode")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["images"], report["left_out"]) == (2, 2)
    assert {Path(failure["source"]).name for failure in report["failed"]} == {"broken.jpg", *phone}
    assert b"failed: " in done.stderr
    assert done.stderr.count(b"is an image in a format that is not read (.psd)") == 1
    assert b". The same holds for 2 other .psd files\n" in done.stderr
    assert len(out.read_text().splitlines()) == 3


def test_no_table_is_written_if_all_pictures_fail(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = cae_run(tmp_path / "broken.png", "-o", tmp_path / "features.npz", model="encode")
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


@pytest.mark.parametrize("name", ["f.csv", "f.npz"])
@pytest.mark.parametrize("options", [[], ["--per-patch"]], ids=["images", "patches"])
def test_a_table_is_skipped_only_if_it_would_be_the_same(
    cae_run: Command, photos: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    out = tmp_path / name

    def again(*more: object) -> tuple[int, str]:
        done = cae_run(photos, "-o", out, *options, *more, model="encode")
        return done.returncode, done.stderr.decode().splitlines()[-1]

    out.write_text("mine")
    assert again() == (2, f"cae-run: output {str(out)!r} exists, and is not a table of features: --overwrite writes it "
                       "anew, or name another file")  # fmt: skip
    assert again("--overwrite")[0] == 0
    written = out.read_bytes()
    code, said = again()
    assert (code, "skipped: " in said, out.read_bytes() == written) == (0, True, True)
    assert "another model or overlap made it" in again("--overlap", 16)[1]
    cv2.imwrite(str(photos / "a.png"), 255 - cv2.imread(str(photos / "a.png")))  # as if by another model
    code, said = again()
    assert (code, f"model '{FIXTURES / 'encode.onnx'}' gives another row for" in said) == (2, True)
    (photos / "a.png").rename(photos / "c.png")
    code, said = again()
    assert (code, "has no row of" in said, "has rows of others, " in said) == (2, True, True)
    options = [] if options else ["--per-patch"]
    assert "exists, with a row for each " in again()[1]
    assert out.read_bytes() == written


def test_a_map_shows_the_pictures_by_their_features(cae_run: Command, tmp_path: Path) -> None:
    """The fixture's features are the mean colors: gray pictures lie on a line, in order of their brightness."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in range(0, 250, 50):
        cv2.imwrite(str(folder / f"{level:03}.png"), np.full((32, 32), level, np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "map.png"
    done = cae_run(folder, "-o", out, "--json", model="encode")
    report = json.loads(done.stdout)
    assert (done.returncode, report["images"], report["projection"]) == (1, 5, "pca")
    places = {Path(file["source"]).stem: (file["x"], file["y"]) for file in report["files"]}
    across = [places[name][0] for name in sorted(places)]
    np.testing.assert_allclose(np.diff(across), [np.sqrt(3) * 50 / 255] * 4, rtol=1e-3)
    assert max(abs(y) for _, y in places.values()) < 1e-4
    drawn = cv2.imread(str(out))
    assert drawn.shape == (900, 1600, 3)
    assert [tuple(drawn[450, x]) for x in (130, 800, 1470)] == [(level,) * 3 for level in (0, 100, 200)]
    done = cae_run(folder, "-o", out, model="encode")
    assert (done.returncode, b"exists: --overwrite draws it anew" in done.stderr) == (2, True)
    done = cae_run(folder, "-o", folder / "000.png", "--overwrite", model="encode")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("out", "options", "reason"),
    [
        ("map.png", ["--projection", "umap"], "--projection is 'umap': it must be 'pca' or 'tsne'"),
        ("map.png", ["--projection", "tsne"], "needs an extra: pip install 'cae-toolkit[tsne]'"),
        ("map.png", ["--per-patch"], "--per-patch is for tables: a map shows whole images"),
        ("f.npz", ["--projection", "pca"], "--projection is for maps"),
    ],
)
def test_options_that_a_map_does_not_use_are_refused(
    cae_run: Command, photos: Path, tmp_path: Path, out: str, options: list[str], reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = cae_run(photos, "-o", tmp_path / out, *options, model="encode")
    assert (done.returncode, reason in done.stderr.decode().splitlines()[-1]) == (2, True), done.stderr
    assert not (tmp_path / out).exists()


def test_a_map_takes_pictures_that_differ_in_their_endings_alone(
    cae_run: Command, noise: Noise, tmp_path: Path
) -> None:
    pair, out = tmp_path / "pair", tmp_path / "pair.png"
    pair.mkdir()
    for name in ("a.jpg", "a.png", "b.png"):
        cv2.imwrite(str(pair / name), noise((32, 32, 3)))
    done = cae_run(pair, "-o", out, "--json", model="encode")
    assert (done.returncode, json.loads(done.stdout)["images"]) == (0, 3), done.stderr
    assert out.is_file()
    kept = (pair / "a.png").read_bytes()
    done = cae_run(pair, "-o", pair / "a.png", "--overwrite", model="encode")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    assert (pair / "a.png").read_bytes() == kept


@pytest.mark.slow
def test_a_map_can_be_made_by_t_sne(cae_run: Command, photos: Path, noise: Noise, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    options = ("-o", tmp_path / "map.png", "--projection", "tsne", "--json")
    done = cae_run(photos, *options, model="encode")
    assert (done.returncode, b"'tsne' needs 4 pictures, and there are 2" in done.stderr) == (2, True)
    for number in range(4):
        cv2.imwrite(str(photos / f"{number}.png"), noise((32, 32, 3)))
    done = cae_run(photos, *options, model="encode")
    assert (done.returncode, len(json.loads(done.stdout)["files"])) == (0, 6)


def test_overlapping_sources_give_one_row(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    below = photos / "below"
    done = cae_run(photos, below, below / ".." / "a.png", "-o", out, model="encode")
    assert (done.returncode, b"note: 2 images named by more than one source" in done.stderr) == (0, True)
    with np.load(out) as table:
        assert table["paths"].tolist() == [str(photos / "a.png"), str(below / "b.png")]


def test_the_table_can_be_written_into_the_folder_of_pictures(cae_run: Command, photos: Path) -> None:
    out = photos / "below" / "features.npz"
    assert cae_run(photos, "-o", out, model="encode").returncode == 0
    with np.load(out) as table:
        assert len(table["features"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="such names are Linux's")
@pytest.mark.parametrize("name", ["f.npz", "f.csv"])
def test_a_file_name_that_is_not_text_is_handled(cae_run: Command, photos: Path, tmp_path: Path, name: str) -> None:
    (photos / "a.png").rename(os.fsdecode(os.fsencode(photos) + b"/\xff.png"))
    done = cae_run(photos, "-o", tmp_path / name, model="encode")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).is_file()


def test_a_wrong_option_is_reported_even_without_readable_pictures(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = cae_run(tmp_path / "broken.png", "-o", tmp_path / "new" / "f.npz", "--overlap", "40", model="encode")
    assert (done.returncode, (tmp_path / "new").exists()) == (2, False)


def test_files_of_the_same_name_in_two_folders_are_two_rows(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    out = tmp_path / "features.npz"
    assert cae_run(photos / "a.png", tmp_path / "a.png", "-o", out, model="encode").returncode == 0
    with np.load(out) as table:
        assert len(table["features"]) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["-o", "features.txt"],
            "to a file that ends in .npz or .csv, or a map, to one that ends in .png",
        ),
        (["-o", "features.npz", "--strength", "0.5"], "task 'encode', which takes no --strength"),
        (["-o", "features.npz", "--mask-color", "#fff"], "which takes no --mask-color"),
        (["-o", "features.npz", "--generate", "3"], "which takes no --generate"),
        (["-o", "features.npz", "--overlap", "32"], "overlap is 32: it must be 0..31"),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    cae_run: Command, photos: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    done = cae_run(photos, *options, model="encode", cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr.decode().splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [photos.name]


def test_videos_and_restoring_models_are_refused(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    done = cae_run(tmp_path / "film.mp4", "-o", tmp_path / "f.npz", model="encode")
    assert (done.returncode, b"is a video: only images are supported here" in done.stderr) == (2, True)
    done = cae_run(photos, "-o", tmp_path / "out", "--per-patch")
    assert (done.returncode, b"--per-patch needs an encoder" in done.stderr) == (2, True)
    for source in (photos, next(photos.rglob("*.png"))):
        done = cae_run(source, "-o", tmp_path / "features.npz")
        assert (done.returncode, b"is a table of features, but model" in done.stderr) == (2, True)
        assert b"cae-export model.pt --part encoder" in done.stderr
        assert not (tmp_path / "features.npz").exists()


def test_the_library_gives_the_same_features_as_the_command(
    fixture_model: Callable[[str], Path], photos: Path, noise: Noise
) -> None:
    encoder = Encoder(fixture_model("encode"), overlap=0, threads=2)
    for image in (noise((32, 32, 3)), noise((64, 96)), noise((64, 32, 4)), noise((32, 32, 2))):
        colors = image[..., :3] if image.ndim == 3 and image.shape[2] == 4 else image
        colors = image[..., 0] if image.ndim == 3 and image.shape[2] == 2 else colors
        np.testing.assert_allclose(encoder(image), means(colors), atol=1e-5)
    places, codes = encoder.patches(noise((5, 40, 3), np.uint16))
    assert (places.tolist(), codes.shape) == ([[0, 0], [8, 0]], (2, 48))
    with pytest.raises(ModelError, match="made for task 'restore': 'encode' is needed here"):
        Encoder(fixture_model("identity"))
    with pytest.raises(UsageError, match="batch is 0"):
        Encoder(fixture_model("encode"), batch=0)


def test_batches_and_threads_do_not_change_the_features(fixture_model: Callable[[str], Path], noise: Noise) -> None:
    image = noise((150, 201, 3))
    wanted = Encoder(fixture_model("encode"), threads=1).patches(image)
    for batch in (1, 2, 7, 64):
        given = Encoder(fixture_model("encode"), threads=2, batch=batch).patches(image)
        np.testing.assert_array_equal(given[0], wanted[0])
        np.testing.assert_allclose(given[1], wanted[1], atol=1e-6)
