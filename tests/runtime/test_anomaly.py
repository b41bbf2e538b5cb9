"""Task `anomaly`: scores, verdicts and heat maps, through the real command. The fixture's score is (x - 0.5)^2."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime.tasks.anomaly import Detector

GRAY = 128
THRESHOLD = 0.02


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Three gray pictures: a good one, one with a dark hole, one with a faint spot."""
    folder = tmp_path / "parts"
    (folder / "second").mkdir(parents=True)
    good = np.full((64, 96, 3), GRAY, np.uint8)
    hole, spot = good.copy(), good.copy()
    cv2.circle(hole, (70, 20), 8, (0, 0, 0), -1)
    cv2.circle(spot, (20, 20), 4, (180, 180, 180), -1)
    for name, image in (("a_good", good), ("b_hole", hole), ("second/c_spot", spot)):
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def test_scores_verdicts_and_heat_maps(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--json", model="anomaly")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["anomalies"], report["threshold"], report["false_alarms"]) == (1, THRESHOLD, 0.05)
    names = [Path(entry["source"]).stem for entry in report["files"]]
    assert names == ["b_hole", "c_spot", "a_good"], "worst first"
    assert [entry["anomaly"] for entry in report["files"]] == [True, False, False]
    assert b"1 of 3 images are anomalies" in done.stderr
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    heat_maps = ["a_good.png_heat.png", "b_hole.png_heat.png"]
    assert written == [*heat_maps, "scores.csv", "second/c_spot.png_heat.png", "sheet.png"]
    heat = cv2.imread(str(out / "b_hole.png_heat.png")).astype(int)
    assert np.ptp(heat[20, 70]) > 50, "in color where the hole is"
    assert np.ptp(heat[50, 20]) == 0, "gray elsewhere"
    assert heat.shape == (64, 96, 3)
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["anomaly"] for row in rows] == ["1", "0", "0"]
    assert float(rows[0]["score"]) == pytest.approx(report["files"][0]["score"])
    sheet = cv2.imread(str(out / "sheet.png"))
    frames = [sheet[30:180, 208 * i : 208 * (i + 1)].reshape(-1, 3) for i in range(3)]
    red, green = (40, 40, 220), (90, 170, 60)
    colors = [{color for color in (red, green) if (frame == color).all(1).any()} for frame in frames]
    assert colors == [{red}, {green}, {green}], "the anomaly first"
    thumbnail = np.repeat(np.repeat(heat, 2, 0), 2, 1)
    np.testing.assert_array_equal(sheet[40:168, 8:200], thumbnail)


def test_a_picture_is_as_bad_as_its_worst_patch() -> None:
    image = np.full((96, 96, 3), GRAY, np.uint8)
    image[32:64, 32:64] = 255
    detector = Detector(FIXTURES / "anomaly.onnx", overlap=0)
    assert detector(image).score == pytest.approx(0.25, abs=0.005)
    assert detector(image).anomaly
    np.testing.assert_allclose(detector(image).heat[32:64, 32:64], 0.25, atol=0.005)


def test_nothing_of_an_earlier_call_is_left_of_pictures_that_fail(
    cae_run: Command, parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "heat"
    assert cae_run(parts, "-o", out, model="anomaly").returncode == 0
    (parts / "b_hole.png").write_bytes(b"no picture")
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 1
    assert not (out / "b_hole.png_heat.png").exists()
    for path in parts.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 1
    assert [path for path in out.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["heat.png", "scores.csv"])
def test_a_folder_with_a_files_name_is_not_made(cae_run: Command, parts: Path, tmp_path: Path, name: str) -> None:
    done = cae_run(parts, "-o", tmp_path / name, model="anomaly")
    assert (done.returncode, b"must be a folder here" in done.stderr) == (2, True)
    assert not (tmp_path / name).exists()


@settings(max_examples=30, deadline=None)
@given(
    height=st.sampled_from([1, 31, 32, 33, 64, 65, 100]),
    width=st.sampled_from([1, 31, 32, 33, 64, 65, 130]),
    overlap=st.integers(0, 31),
    batch=st.integers(1, 40),
    channels=st.sampled_from([0, 1, 2, 3, 4]),
    seed=st.integers(0, 99),
)
def test_heat_is_each_pixel_s_own_score_wherever_patches_lie(
    height: int, width: int, overlap: int, batch: int, channels: int, seed: int
) -> None:
    """The fixture scores a pixel by itself: blending must give just that, at every size, overlap and batch."""
    shape = (height, width, channels) if channels else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    detector = Detector(FIXTURES / "anomaly.onnx", overlap=overlap, batch=batch, threads=2)
    colors = image.reshape(height, width, -1)
    colors = colors[..., :3] if colors.shape[2] >= 3 else colors[..., :1]
    expected = np.square(colors / 255 - 0.5).mean(2)
    found = detector(image)
    np.testing.assert_allclose(found.heat, expected, atol=1e-5)
    assert found.anomaly == (found.score > THRESHOLD)


def test_one_bad_file_does_not_stop_the_others(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    for name in ("broken.png", "1.psd", "2.psd"):
        (parts / name).write_bytes(b"no picture")
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--json", model="anomaly")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [entry["status"] for entry in report["files"]] == ["done"] * 3 + ["failed"] * 3
    assert done.stderr.count(b"failed: ") == 2
    assert not (out / "broken.png_heat.png").exists()


def test_what_is_there_is_kept(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    out.mkdir()
    mine = out / "a_good.png_heat.png"
    mine.write_text("mine")
    done = cae_run(parts, "-o", out, model="anomaly")
    assert (done.returncode, b"and 3 others do not" in done.stderr) == (2, True)
    assert [path.name for path in out.iterdir()] == [mine.name]
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 0
    assert mine.read_bytes() != b"mine"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    done = cae_run(parts, "-o", out, model="anomaly")
    assert (done.returncode, b"skipped" in done.stderr) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_results_beside_the_pictures_are_not_looked_at_again(cae_run: Command, parts: Path) -> None:
    for _ in range(2):
        done = cae_run(parts, "-o", parts, "--overwrite", "--json", model="anomaly")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["files"]) == 3


def test_no_source_is_ever_replaced(cae_run: Command, parts: Path) -> None:
    """A picture of one's own that is named like a result."""
    for name in ("sheet.png", "other.png_heat.png"):
        cv2.imwrite(str(parts / name), np.full((40, 40, 3), GRAY, np.uint8))
    before = {path: path.read_bytes() for path in parts.glob("*.png")}
    cv2.imwrite(str(parts / "other.png"), np.full((40, 40, 3), GRAY, np.uint8))
    done = cae_run(parts / "sheet.png", "-o", parts, "--overwrite", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    named = parts / "other.png", parts / "other.png_heat.png"
    done = cae_run(*named, "-o", parts, "--overwrite", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    assert {path: path.read_bytes() for path in before} == before


def test_pictures_of_one_stem_have_their_own_heat_maps(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(parts / "a_good.jpg"), np.zeros((40, 40, 3), np.uint8))
    assert cae_run(parts, "-o", tmp_path / "heat", model="anomaly").returncode == 0
    assert (tmp_path / "heat" / "a_good.jpg_heat.png").is_file()
    done = cae_run(parts / "a_good.png", parts / "second" / ".." / "a_good.png", "-o", tmp_path / "h", model="anomaly")
    assert (done.returncode, b"would both become" in done.stderr) == (2, True)


def test_a_picture_of_another_size_is_noted(cae_run: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), np.full((200, 200, 3), GRAY, np.uint8))
    done = cae_run(tmp_path / "large.png", "-o", tmp_path / "heat", model="anomaly")
    assert b"note: 1 images are over 20% smaller or 25% larger than the 6144 pixels" in done.stderr


def test_nothing_is_said_of_pictures_that_all_failed(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = cae_run(tmp_path / "broken.png", "-o", tmp_path / "heat", model="anomaly")
    assert done.returncode == 1
    assert b"anomalies" not in done.stderr
    assert not list((tmp_path / "heat").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="such names are Linux's")
def test_a_name_that_is_no_text(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    (parts / "a_good.png").rename(os.fsdecode(os.fsencode(parts) + b"/\xff.png"))
    done = cae_run(parts, "-o", tmp_path / "heat", model="anomaly")
    assert done.returncode == 0, done.stderr
    assert b"\xff.png" in (tmp_path / "heat" / "scores.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "heat", "--per-patch"], "task 'anomaly', which takes no --per-patch"),
        (["-o", "heat", "--ext", "png"], "which takes no --ext"),
        (["-o", "heat", "--overlap", "0"], "which takes no --overlap"),
        (["-o", "file"], "is a file: name a folder"),
    ],
)
def test_wrong_usage_is_one_line(
    cae_run: Command, parts: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    (tmp_path / "file").write_text("")
    done = cae_run(parts, *options, model="anomaly", cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr.decode().splitlines()[-1]


def test_a_detector_without_thresholds_is_no_model(tmp_path: Path, cae_run: Command, parts: Path) -> None:
    onnx = pytest.importorskip("onnx")
    made = onnx.load(FIXTURES / "anomaly.onnx")
    kept = {entry.key: entry.value for entry in made.metadata_props if entry.key != "threshold"}
    del made.metadata_props[:]
    onnx.helper.set_model_props(made, kept)
    onnx.save(made, tmp_path / "m.onnx")
    done = cae_run(parts, "-o", tmp_path / "heat", model=tmp_path / "m.onnx")
    assert done.returncode == 2
    assert b"metadata threshold is None: it must be a number above 0 with task anomaly" in done.stderr
