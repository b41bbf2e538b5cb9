"""Task `anomaly`: scores, verdicts and heat maps, through the real command. The fixture's score is (x - 0.5)^2."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import ImageError, ModelError, ProviderError, UsageError
from cae_runtime.io.contact_sheet import Cell
from cae_runtime.jobs.heat_maps import judge as judge_module
from cae_runtime.jobs.heat_maps.judge import Judge, Judged, read_region
from cae_runtime.jobs.heat_maps.separation import separation
from cae_runtime.jobs.heat_maps.sheet import drawn_sheet
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.heat_maps.threshold import Limit, PictureNotes, looks_of
from cae_runtime.jobs.opened_images import Opened
from cae_runtime.tasks.anomaly import Detector
from cae_runtime.tasks.anomaly.brightness import brightness_of

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


def test_a_folder_gets_scores_verdicts_and_heat_maps(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--json", model="anomaly")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["anomalies"], report["threshold"], report["false_alarms"]) == (1, THRESHOLD, 0.05)
    names = [Path(entry["source"]).stem for entry in report["files"]]
    assert names == ["b_hole", "c_spot", "a_good"], "worst first"
    assert [entry["anomaly"] for entry in report["files"]] == [True, False, False]
    assert b"1 of 3 images is an anomaly; the threshold is 0.02, set for" in done.stderr
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    heat_maps = ["a_good_heat.png", "b_hole_heat.png"]
    assert written == [*heat_maps, "scores.csv", "second/c_spot_heat.png", "sheet.png"]
    heat = cv2.imread(str(out / "b_hole_heat.png")).astype(int)
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


def test_old_heat_maps_of_pictures_that_fail_are_removed(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    assert cae_run(parts, "-o", out, model="anomaly").returncode == 0
    (parts / "b_hole.png").write_bytes(b"no picture")
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 1
    assert not (out / "b_hole_heat.png").exists()
    for path in parts.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 1
    assert [path for path in out.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["heat.png", "scores.csv"])
def test_a_file_name_is_never_used_for_an_output_folder(
    cae_run: Command, parts: Path, tmp_path: Path, name: str
) -> None:
    done = cae_run(parts, "-o", tmp_path / name, model="anomaly")
    assert (done.returncode, b"a folder is needed" in done.stderr) == (2, True)
    assert not (tmp_path / name).exists()


@settings(max_examples=30)
@given(
    height=st.sampled_from([1, 31, 32, 33, 64, 65, 100]),
    width=st.sampled_from([1, 31, 32, 33, 64, 65, 130]),
    overlap=st.integers(0, 31),
    batch=st.integers(1, 40),
    channels=st.sampled_from([0, 1, 2, 3, 4]),
    seed=st.integers(0, 99),
)
def test_the_heat_of_a_pixel_does_not_depend_on_the_patch_positions(
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
    assert not (out / "broken_heat.png").exists()


def test_existing_heat_maps_are_kept(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    out.mkdir()
    mine = out / "a_good_heat.png"
    mine.write_text("mine")
    done = cae_run(parts, "-o", out, model="anomaly")
    assert (done.returncode, b"is not in the table of scores" in done.stderr) == (2, True)
    assert [path.name for path in out.iterdir()] == [mine.name]
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly").returncode == 0
    assert mine.read_bytes() != b"mine"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    done = cae_run(parts, "-o", out, model="anomaly")
    assert (done.returncode, b"skipped" in done.stderr) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_heat_maps_beside_the_pictures_are_not_scored(cae_run: Command, parts: Path) -> None:
    for _ in range(2):
        done = cae_run(parts, "-o", parts, "--overwrite", "--json", model="anomaly")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["files"]) == 3


def test_a_source_is_never_overwritten(cae_run: Command, parts: Path) -> None:
    """A picture of one's own that is named like a result."""
    for name in ("sheet.png", "other_heat.png"):
        cv2.imwrite(str(parts / name), np.full((40, 40, 3), GRAY, np.uint8))
    before = {path: path.read_bytes() for path in parts.glob("*.png")}
    cv2.imwrite(str(parts / "other.png"), np.full((40, 40, 3), GRAY, np.uint8))
    done = cae_run(parts / "sheet.png", "-o", parts, "--overwrite", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    named = parts / "other.png", parts / "other_heat.png"
    done = cae_run(*named, "-o", parts, "--overwrite", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    assert {path: path.read_bytes() for path in before} == before


def test_pictures_with_the_same_stem_get_separate_heat_maps(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(parts / "a_good.jpg"), np.zeros((40, 40, 3), np.uint8))
    assert cae_run(parts, "-o", tmp_path / "heat", model="anomaly").returncode == 0
    assert (tmp_path / "heat" / "a_good.jpg_heat.png").is_file()
    done = cae_run(parts / "a_good.png", parts / "second" / ".." / "a_good.png", "-o", tmp_path / "h", model="anomaly")
    assert (done.returncode, b"would both become" in done.stderr) == (2, True)


def test_a_picture_of_another_size_gives_a_note(cae_run: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), np.full((200, 200, 3), GRAY, np.uint8))
    done = cae_run(tmp_path / "large.png", "-o", tmp_path / "heat", model="anomaly")
    assert b") is over 20% smaller or 25% larger than the 6144 pixels" in done.stderr


def test_pictures_that_all_failed_give_no_notes(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = cae_run(tmp_path / "broken.png", "-o", tmp_path / "heat", model="anomaly")
    assert done.returncode == 1
    assert b"anomalies" not in done.stderr
    assert not list((tmp_path / "heat").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="such names are Linux's")
def test_a_file_name_that_is_not_text_is_handled(cae_run: Command, parts: Path, tmp_path: Path) -> None:
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
def test_wrong_usage_is_a_one_line_error(
    cae_run: Command, parts: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    (tmp_path / "file").write_text("")
    done = cae_run(parts, *options, model="anomaly", cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr.decode().splitlines()[-1]


def test_a_detector_without_thresholds_is_refused(tmp_path: Path, cae_run: Command, parts: Path) -> None:
    onnx = pytest.importorskip("onnx")
    made = onnx.load(FIXTURES / "anomaly.onnx")
    kept = {entry.key: entry.value for entry in made.metadata_props if entry.key != "threshold"}
    del made.metadata_props[:]
    onnx.helper.set_model_props(made, kept)
    onnx.save(made, tmp_path / "m.onnx")
    done = cae_run(parts, "-o", tmp_path / "heat", model=tmp_path / "m.onnx")
    assert done.returncode == 2
    assert b"metadata threshold is None: it must be a number above 0 with task anomaly" in done.stderr


def test_only_new_pictures_of_a_scored_folder_are_scored(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    first = json.loads(cae_run(parts, "-o", out, "--json", model="anomaly").stdout)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_heat.png")}
    cv2.imwrite(str(parts / "d_new.png"), np.full((64, 96, 3), 0, np.uint8))
    (parts / "broken.png").write_bytes(b"no picture")
    done = cae_run(parts, "-o", out, "--json", model="anomaly")
    report = json.loads(done.stdout)
    assert done.returncode == 1, "a file failed"
    assert [(Path(each["source"]).stem, each["status"]) for each in report["files"]] == [
        ("d_new", "done"), ("b_hole", "skipped"), ("c_spot", "skipped"), ("a_good", "skipped"), ("broken", "failed"),
    ]  # fmt: skip
    scores = {each["source"]: pytest.approx(each["score"], rel=1e-6) for each in first["files"]}
    assert {each["source"]: each["score"] for each in report["files"] if each["source"] in scores} == scores
    assert {path: path.stat().st_mtime_ns for path in before} == before
    table = (out / "scores.csv").read_bytes()
    assert b"\r" not in table
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert [row["status"] for row in rows] == ["done", "done", "done", "done", "failed"]
    assert (rows[-1]["score"], rows[-1]["anomaly"]) == ("", "")
    assert rows[-1]["reason"]
    assert report["model"] == "anomaly.onnx"


def test_scores_of_earlier_calls_stay_in_the_table(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    for name in ("a_good", "b_hole"):
        assert cae_run(parts / f"{name}.png", "-o", out, model="anomaly").returncode == 0
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [Path(row["path"]).stem for row in rows] == ["b_hole", "a_good"]
    other = tmp_path / "other"
    shutil.copytree(parts, other)
    done = cae_run(other / "a_good.png", "-o", out, model="anomaly")
    assert (done.returncode, b"not of" in done.stderr) == (2, True), "one heat map for two pictures"


@pytest.mark.parametrize("end", [KeyboardInterrupt, ProviderError("out of luck")])
def test_an_interrupted_call_is_continued_by_the_next_one(
    end: BaseException, cae_run: Command, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(judge: Judge, picture: Opened) -> Judged:
        if picture.job.source.name == "b_hole.png":
            judge.write(Path(str(picture.job.output)), np.full((64, 96, 3), GRAY, np.uint8))  # its score is lost
            raise end
        return judge_module.judged(judge, picture)

    with monkeypatch.context() as patched:
        patched.setattr("cae_runtime.jobs.anomaly.judged", ended)
        assert cae_run(parts, "-o", tmp_path / "heat", model="anomaly").returncode != 0
    done = cae_run(parts, "-o", tmp_path / "heat", "--json", model="anomaly")
    assert done.returncode == 0, done.stderr
    states = {Path(each["source"]).stem: (each["status"], each["anomaly"]) for each in json.loads(done.stdout)["files"]}
    assert states == {"a_good": ("skipped", False), "b_hole": ("done", True), "c_spot": ("done", False)}
    assert not (tmp_path / "heat" / "scores.parts").exists()


def test_a_call_that_fails_before_its_first_score_leaves_nothing(
    cae_run: Command, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(_: Judge, __: Opened) -> Judged:
        raise ModelError("out of luck")

    monkeypatch.setattr("cae_runtime.jobs.anomaly.judged", failed)
    assert cae_run(parts, "-o", tmp_path / "heat", model="anomaly").returncode == 2
    assert not [*(tmp_path / "heat").iterdir()]


def test_scores_of_different_models_are_never_mixed(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    assert cae_run(parts, "-o", out, model="anomaly").returncode == 0
    done = cae_run(parts, "-o", out, model="anomaly_scores")
    assert (done.returncode, b"has scores of 'anomaly.onnx'" in done.stderr) == (2, True)
    assert cae_run(parts, "-o", out, "--overwrite", model="anomaly_scores").returncode == 0


def test_another_threshold_needs_no_new_export(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    """The fixture's 40 good scores go up to 0.0206; the three pictures have 0, 0.002 and 0.04."""
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--json", model="anomaly_scores")
    report = json.loads(done.stdout)
    assert report["measured"] == {
        "above": 1, "images": 40, "share": 0.025, "interval_95": pytest.approx([0.0006, 0.1316], abs=1e-4),
    }  # fmt: skip
    assert b"set for 5.0% of false alarms: 1 of 40 good pictures scores higher (2.5%; 95% interval" in done.stderr
    lower = json.loads(cae_run(parts, "-o", out, "--json", "--false-alarms", "0.4", model="anomaly_scores").stdout)
    assert (lower["false_alarms"], lower["skipped"]) == (0.4, True)
    assert 0.001 < lower["threshold"] < report["threshold"]
    given = json.loads(cae_run(parts, "-o", out, "--json", "--threshold", "0.001", model="anomaly_scores").stdout)
    assert (given["threshold"], given["false_alarms"], given["anomalies"]) == (0.001, None, 2)
    for options, reason in (
        (["--false-alarms", "0.001"], b"--false-alarms is 0.001: the 40 good pictures of this detector allow 0.005"),
        (["--false-alarms", "0.1", "--threshold", "1"], b"--false-alarms is 0.1: it sets a threshold, and 1 is given"),
        (["--threshold", "0"], b"--threshold is 0: it must be above 0"),
    ):  # fmt: skip
        done = cae_run(parts, "-o", out, *options, model="anomaly_scores")
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    done = cae_run(parts, "-o", tmp_path / "old", "--false-alarms", "0.1", model="anomaly")
    assert (done.returncode, b"no scores of good pictures in its file" in done.stderr) == (2, True)


def test_an_anomaly_can_end_the_command_with_code_4(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    assert cae_run(parts, "-o", out, "--fail-on-anomaly", model="anomaly").returncode == 4
    assert cae_run(parts, "-o", out, "--fail-on-anomaly", model="anomaly").returncode == 4, "also if it is known"
    assert cae_run(parts / "a_good.png", "-o", out, "--fail-on-anomaly", model="anomaly").returncode == 0
    (parts / "broken.png").write_bytes(b"no picture")
    assert cae_run(parts, "-o", out, "--fail-on-anomaly", model="anomaly").returncode == 1, "a failed file goes before"


def test_one_picture_becomes_one_heat_map_from_files_or_pipes(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    source, target = parts / "b_hole.png", tmp_path / "hole_heat.png"
    done = cae_run(source, "-o", target, "--json", model="anomaly")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"][0]["anomaly"] is True
    assert b"is an anomaly: its score" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hole_heat.png", "parts"]
    piped = cae_run("-", "-o", "-", "--fail-on-anomaly", model="anomaly", stdin=source.read_bytes())
    assert (piped.returncode, piped.stdout) == (4, target.read_bytes())
    assert b"skipped" in cae_run(source, "-o", target, model="anomaly").stderr
    assert b"would overwrite the source" in cae_run(source, "-o", source, "--overwrite", model="anomaly").stderr
    assert cae_run(source, "-o", "-", "--raw-maps", model="anomaly").returncode == 2


def test_raw_maps_and_defect_masks_are_written(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat"
    assert cae_run(parts, "-o", out, model="anomaly").returncode == 0
    assert cae_run(parts, "-o", out, "--raw-maps", "--defect-masks", model="anomaly").returncode == 0
    image = cv2.imread(str(parts / "b_hole.png"))
    raw = cv2.imread(str(out / "b_hole_scores.tiff"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.float32
    np.testing.assert_allclose(raw, np.square(image / 255 - 0.5).mean(2), atol=1e-5)
    mask = cv2.imread(str(out / "b_hole_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, (image[..., 0] < 64).astype(np.uint8) * 255)
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert len(rows) == 3


def test_only_pixels_of_the_region_count(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    """The hole is in the right half, the spot in the left."""
    region = np.zeros((64, 96), np.uint8)
    region[:, :48] = 255
    cv2.imwrite(str(tmp_path / "roi.png"), region)
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--json", "--roi", tmp_path / "roi.png", model="anomaly")
    report = json.loads(done.stdout)
    assert [Path(each["source"]).stem for each in report["files"]] == ["c_spot", "a_good", "b_hole"]
    assert report["anomalies"] == 0
    heat = cv2.imread(str(out / "b_hole_heat.png")).astype(int)
    assert np.ptp(heat, axis=2).max() == 0, "no color outside"
    done = cae_run(parts, "-o", out, model="anomaly")
    assert (done.returncode, b"another region" in done.stderr) == (2, True)
    cv2.imwrite(str(tmp_path / "small.png"), region[:32])
    done = cae_run(parts, "-o", tmp_path / "h", "--roi", tmp_path / "small.png", model="anomaly")
    assert (done.returncode, b"has 96x64 pixels, and the mask of the region 96x32" in done.stderr) == (1, True)
    cv2.imwrite(str(tmp_path / "black.png"), region * 0)
    done = cae_run(parts, "-o", tmp_path / "h", "--roi", tmp_path / "black.png", model="anomaly")
    assert (done.returncode, b"marks nothing" in done.stderr) == (2, True)


def test_a_region_averages_only_its_own_pixels() -> None:
    image = np.full((32, 64, 3), GRAY, np.uint8)
    image[:, :16] = 255
    region = np.zeros((32, 64), np.bool_)
    region[:, :16] = True
    detector = Detector(FIXTURES / "anomaly.onnx", overlap=0)
    assert detector(image, region=region).score == pytest.approx(0.25, abs=0.005)
    assert detector(image, region=~region).score == pytest.approx(0, abs=0.001)
    assert detector(image).score == pytest.approx(0.125, abs=0.005)
    with pytest.raises(ImageError, match="must be a bool array"):
        detector(image, region=region.astype(np.uint8))  # type: ignore[arg-type]


def test_patches_at_the_edge_of_a_region_do_not_count_where_the_others_score_0() -> None:
    image = np.full((32, 64, 3), 0.5, np.float32)
    image[:, 32:] = 1
    region = np.zeros((32, 64), np.bool_)
    region[:, :34] = True
    detector = Detector(FIXTURES / "anomaly.onnx", overlap=0)
    assert detector(image, region=region).score == 0
    region[:, :32] = False
    assert detector(image, region=region).score == pytest.approx(0.25), "but where there are no others"


def test_known_bad_pictures_give_the_rate_of_detection(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    bad = tmp_path / "known"
    bad.mkdir()
    (parts / "b_hole.png").rename(bad / "b_hole.png")
    (parts / "second" / "c_spot.png").rename(bad / "a_good.png")
    for i in range(3):
        cv2.imwrite(str(parts / f"good{i}.png"), np.full((64, 96, 3), GRAY + i, np.uint8))
    out = tmp_path / "heat"
    done = cae_run(parts, "-o", out, "--bad", bad, "--json", "--fail-on-anomaly", model="anomaly")
    assert done.returncode == 0, "bad pictures are no surprise"
    report = json.loads(done.stdout)
    assert report["bad"]["auroc"] == 1
    assert (report["bad"]["found"], report["bad"]["best_found"], report["bad"]["best_false_alarms"]) == (0.5, 1, 0)
    assert b"50.0% of the bad images are found, AUROC 1.000" in done.stderr
    assert (out / "bad" / "a_good_heat.png").is_file()
    assert [each["label"] for each in report["files"]] == ["bad", "bad", "", "", "", ""]


@pytest.mark.parametrize("name", ["bad", "defects"])
def test_a_folder_of_bad_pictures_inside_the_source_counts_once(
    cae_run: Command, parts: Path, tmp_path: Path, name: str
) -> None:
    (parts / name).mkdir()
    (parts / "b_hole.png").rename(parts / name / "b_hole.png")
    done = cae_run(parts, "-o", tmp_path / "heat", "--bad", parts / name, "--json", model="anomaly")
    files = json.loads(done.stdout)["files"]
    assert [(Path(each["source"]).stem, each["label"]) for each in files] == [
        ("b_hole", "bad"), ("c_spot", ""), ("a_good", ""),
    ]  # fmt: skip
    assert len(list((tmp_path / "heat").rglob("*_heat.png"))) == 3
    done = cae_run(parts, "-o", tmp_path / "h", "--bad", parts, model="anomaly")
    assert (done.returncode, b"has all the pictures" in done.stderr) == (2, True)


def test_a_table_has_each_picture_once_also_those_that_are_gone(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    out, bad, alone = tmp_path / "heat", parts / "defects", tmp_path / "alone.png"
    bad.mkdir()
    (parts / "b_hole.png").rename(bad / "b_hole.png")
    cv2.imwrite(str(alone), np.full((64, 96, 3), GRAY, np.uint8))
    assert cae_run(alone, "-o", out, model="anomaly").returncode == 0
    names = ["b_hole", "c_spot", "a_good", "alone"]
    for options in (("--bad", bad), (), ("--raw-maps", "--bad", bad)):
        done = cae_run(parts, "-o", out, *options, model="anomaly")
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
        assert sorted(Path(row["path"]).stem for row in rows) == sorted(names)
        assert len(list(out.rglob("*_heat.png"))) == 4
    for gone in (alone, bad / "b_hole.png", parts / "second" / "c_spot.png"):
        gone.unlink()
    done = cae_run(parts, "-o", out, model="anomaly")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert sorted(Path(row["path"]).stem for row in rows) == sorted(names), "pictures may have been moved away since"
    assert len(list(out.rglob("*_heat.png"))) == 4


def test_the_sheet_says_what_is_known_to_be_bad(tmp_path: Path) -> None:
    heat_map = tmp_path / "a_heat.png"
    cv2.imwrite(str(heat_map), np.full((64, 96, 3), GRAY, np.uint8))
    verdict = Verdict("a.png", "done", heat_map=str(heat_map), score=4.2, anomaly=True)
    captions: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "cae_runtime.jobs.heat_maps.sheet.Cell",
            lambda *args: captions.append(args[1]) or Cell(*args),  # type: ignore[func-returns-value]
        )
        assert drawn_sheet([verdict, replace(verdict, label="bad")])
    assert captions == ["4.2 a.png", "bad: 4.2 a.png"]


def test_the_summary_counts_failed_files_and_single_images(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    (parts / "broken.png").write_bytes(b"no picture")
    assert b"1 of 3 images is an anomaly, 1 failed; the" in cae_run(parts, "-o", tmp_path / "a", model="anomaly").stderr
    for name, verdict in (("a_good", b"1 image: it is no anomaly;"), ("b_hole", b"1 image: it is an anomaly;")):
        assert verdict in cae_run(parts / f"{name}.png", "-o", tmp_path / name, model="anomaly").stderr


def test_equal_scores_count_half() -> None:
    found = separation([1.0, 2.0], [2.0, 3.0], 2.5)
    assert found is not None
    assert (found.auroc, found.found, found.best_threshold) == (0.875, 0.5, 1.5)
    assert separation([], [1.0], 1) is None


def test_12_bit_pictures_in_16_bit_files_give_a_note(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    dark = parts / "dark.png"
    cv2.imwrite(str(dark), np.full((64, 96, 3), 4000, np.uint16))
    text = "is almost black to the model: it uses less than a sixteenth"
    for source, out in ((dark, "heat.png"), (parts, "heat")):
        done = cae_run(source, "-o", tmp_path / out, "--json", model="anomaly")
        assert f"note: 1 image ({str(dark)!r}) {text}" in done.stderr.decode()
        files = json.loads(done.stdout)["files"]
        (note,) = (file["note"] for file in files if file["source"] == str(dark))
        assert note.startswith(f"it {text}")
        assert {file["note"] for file in files if file["source"] != str(dark)} <= {""}


def test_pictures_in_other_light_than_the_good_ones_give_a_note() -> None:
    spec = replace(Detector(FIXTURES / "anomaly.onnx").session.spec, good_brightness=(0.4, 0.5))
    notes = PictureNotes(spec)
    for value in (98, 100, 120, 132):  # 0.38 to 0.52 of white: within 5 % of the good ones
        notes.add(looks_of(np.full((64, 96, 3), value, np.uint8), spec), "usual.png")
    assert list(notes.lines()) == []
    notes.add(looks_of(np.full((64, 96), 51, np.uint8), spec), "a.png")
    for number, value in enumerate((0.6, 0.6, 0.6, 0.7, 0.7)):
        notes.add(looks_of(np.full((64, 96, 3), value, np.float32), spec), f"{number}.tiff")
    notes.add(looks_of(np.full((64, 96, 3), 4000, np.uint16), spec), "b.png")
    dark, darker, brighter = notes.lines()
    assert "1 image ('b.png') is almost black to the model: it uses" in dark
    assert "1 image ('a.png') is darker than all good pictures" in darker
    assert "on average 20.0% of white, and those 40.0% to 50.0%" in darker
    assert "5 images ('0.tiff', '1.tiff', '2.tiff' and 2 more) are brighter" in brighter
    assert "60.0% to 70.0% of white" in brighter


def test_the_number_of_pictures_behind_a_threshold_is_reported() -> None:
    spec = replace(Detector(FIXTURES / "anomaly.onnx").session.spec, good_scores=None, threshold_images=1)
    assert Limit(0.1, 0.05, spec).described == "set for 5.0% of false alarms on 1 good picture"
    assert Limit(0.1, None, replace(spec, threshold_images=20)).described == "as given on 20 good pictures"


def test_brightness_is_measured_on_what_the_model_sees() -> None:
    spec = Detector(FIXTURES / "anomaly.onnx").session.spec
    blue = np.zeros((28, 28, 4), np.uint8)
    blue[..., 0] = blue[..., 3] = 255
    assert brightness_of(blue, spec) == pytest.approx(1 / 3)
    assert brightness_of(blue, replace(spec, channels=1, color="gray")) == pytest.approx(0.114)
    assert brightness_of(blue, replace(spec, framed=28)) == pytest.approx(28**2 / 32**2 / 3), "in a black frame"


def test_a_detector_checks_region_and_heat_and_reports_progress(noise: Callable[..., np.ndarray]) -> None:
    image = noise((70, 90, 3))
    told: list[tuple[int, int]] = []
    with Detector(FIXTURES / "anomaly.onnx") as detect:
        found = detect(image, progress=lambda done, total: told.append((done, total)))
        assert told
        assert told[-1][0] == told[-1][1]
        for region in (None, [[True]], np.ones((70, 90)), np.ones((9, 9), bool), np.zeros((70, 90), bool))[1:]:
            with pytest.raises(ImageError, match="region"):
                detect(image, region=region)  # type: ignore[arg-type]
        for heat in (None, found.heat.astype(float), found.heat[:9]):
            with pytest.raises(ImageError, match="heat"):
                detect.overlay(image, heat)  # type: ignore[arg-type]
        assert detect.overlay(image, found.heat).shape == image.shape


def test_no_additional_output_overwrites_a_source(cae_run: Command, parts: Path) -> None:
    source, target = parts / "part_mask.png", parts / "part_heat.png"
    (parts / "a_good.png").rename(source)
    before = source.read_bytes()
    done = cae_run(source, "-o", target, "--defect-masks", "--overwrite", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    (parts / "part_scores.tiff").write_bytes(b"mine")
    done = cae_run(parts / "b_hole.png", "-o", target, "--raw-maps", model="anomaly")
    assert (done.returncode, b"part_scores.tiff' exists, and " in done.stderr) == (2, True)
    assert (parts / "part_scores.tiff").read_bytes() == b"mine"
    (parts / "part_scores.tiff").unlink()
    (parts / "b_hole.png").rename(parts / "part.png")
    for _ in range(2):
        report = json.loads(cae_run(parts, "-o", parts, "--overwrite", "--json", model="anomaly").stdout)
        assert len(report["files"]) == 3, "a picture of one's own that is named like a mask is looked at"
    done = cae_run(parts, "-o", parts, "--overwrite", "--defect-masks", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    assert source.read_bytes() == before


def test_a_users_file_named_like_an_output_is_not_overwritten(cae_run: Command, parts: Path) -> None:
    """A mask of one's own beside a picture that was scored before."""
    (parts / "b_hole.png").rename(parts / "part.png")
    assert cae_run(parts, "-o", parts, model="anomaly").returncode == 0
    mine = parts / "part_mask.png"
    shutil.copy(parts / "a_good.png", mine)
    before = mine.read_bytes()
    done = cae_run(parts, "-o", parts, "--json", "--defect-masks", model="anomaly")
    assert (done.returncode, b"would overwrite the source" in done.stderr) == (2, True)
    done = cae_run(parts / "part.png", "-o", parts, "--json", "--defect-masks", model="anomaly")
    assert (done.returncode, b"part_mask.png' exists, but is not in the table of scores" in done.stderr) == (2, True)
    report = json.loads(cae_run(parts, "-o", parts, "--json", model="anomaly").stdout)
    assert [Path(each["source"]).name for each in report["files"] if each["status"] == "done"] == ["part_mask.png"]
    assert mine.read_bytes() == before


def test_masks_of_an_earlier_call_are_not_scored(cae_run: Command, parts: Path) -> None:
    first = json.loads(cae_run(parts, "-o", parts, "--json", "--defect-masks", model="anomaly").stdout)
    assert [Path(each["mask"]).is_file() for each in first["files"]] == [True] * 3
    assert [each["raw_map"] for each in first["files"]] == [""] * 3
    for more in ((), ("--overwrite",), ("--defect-masks",), ("--raw-maps", "--overwrite"), ()):
        done = cae_run(parts, "-o", parts, "--json", *more, model="anomaly")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert [each["mask"] for each in report["files"]] == [each["mask"] for each in first["files"]], more
    assert [Path(each["raw_map"]).is_file() for each in report["files"]] == [True] * 3


def test_the_mask_of_the_region_is_never_overwritten(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    region, source = tmp_path / "part_mask.png", parts / "b_hole.png"
    cv2.imwrite(str(region), np.full((64, 96), 255, np.uint8))
    before = region.read_bytes()
    source.rename(parts / "part.png")
    for output in (tmp_path / "part_heat.png", tmp_path):
        done = cae_run(
            parts / "part.png", "-o", output, "--roi", region, "--defect-masks", "--overwrite", model="anomaly"
        )
        assert (done.returncode, b"would overwrite the mask of the region" in done.stderr) == (2, True), done.stderr
    assert region.read_bytes() == before


def test_regions_are_marked_as_masks_are(tmp_path: Path) -> None:
    wanted = np.zeros((64, 96), np.bool_)
    wanted[10:40, 20:50] = True
    opaque = wanted.astype(np.uint8) * 255
    for color in (0, 255):  # of a selection that lies in alpha
        cv2.imwrite(str(tmp_path / "roi.png"), np.dstack([np.full((64, 96, 3), color, np.uint8), opaque]))
        np.testing.assert_array_equal(read_region(tmp_path / "roi.png"), wanted)
    faint = np.zeros((64, 96), np.uint8)
    faint[:4, :4] = 1
    cv2.imwrite(str(tmp_path / "black.jpg"), faint, [cv2.IMWRITE_JPEG_QUALITY, 100])
    with pytest.raises(UsageError, match="marks nothing"):
        read_region(tmp_path / "black.jpg")


def test_a_floating_point_region_is_refused_by_name(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    pytest.importorskip("tifffile").imwrite(tmp_path / "roi.tif", np.ones((64, 96), np.float32))
    done = cae_run(parts, "-o", tmp_path / "heat", "--roi", tmp_path / "roi.tif", model="anomaly")
    assert (done.returncode, b"roi.tif' has floating-point values" in done.stderr) == (2, True), done.stderr


def test_keeping_a_heat_map_does_not_change_the_verdict(cae_run: Command, parts: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = cae_run(
            parts / "b_hole.png", "-o", tmp_path / "heat.png", "--fail-on-anomaly", "--json", model="anomaly"
        )
        assert done.returncode == 4
    assert b"skipped" in done.stderr
    assert json.loads(done.stdout)["files"][0]["status"] == "skipped"
    (tmp_path / "heat.png").write_bytes(b"mine")
    done = cae_run("-", "-o", tmp_path / "heat.png", model="anomaly", stdin=(parts / "a_good.png").read_bytes())
    assert (done.returncode, (tmp_path / "heat.png").read_bytes()) == (0, b"mine")


def test_multi_page_pictures_and_unwritable_maps_are_a_one_line_error(
    cae_run: Command, parts: Path, tmp_path: Path
) -> None:
    source, pages = parts / "b_hole.png", tmp_path / "pages.tif"
    cv2.imwritemulti(str(pages), [np.full((64, 96, 3), GRAY, np.uint8)] * 2)
    for suffix in ("heic", "pgm"):
        done = cae_run(source, "-o", tmp_path / f"heat.{suffix}", model="anomaly")
        assert (done.returncode, b"heat maps are written as .jpg" in done.stderr) == (2, True)
    assert cae_run(source, "-o", tmp_path / "heat.jfif", model="anomaly").returncode == 0
    done = cae_run(source, "-o", tmp_path / "heat.png", "--roi", pages, model="anomaly")
    assert (done.returncode, b"has several frames or pages: save the one that is the mask" in done.stderr) == (2, True)
    done = cae_run(pages, "-o", tmp_path / "heat.png", model="anomaly")
    assert (done.returncode, b"has 2 frames or pages: this needs single images" in done.stderr) == (1, True)
    assert not (tmp_path / "heat.png").exists()


def test_a_gray_picture_counts_as_dark_only_if_all_of_it_is() -> None:
    spec = Detector(FIXTURES / "anomaly.onnx").session.spec
    notes = PictureNotes(spec)
    gray = np.full((64, 96), 4000, np.uint16)
    gray[:, 50] = 60000
    notes.add(looks_of(gray, spec), "gray.png")
    assert list(notes.lines()) == []
