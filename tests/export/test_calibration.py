"""Thresholds of detectors set anew from more good pictures; the fixture's score is (x - 0.5)^2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from tests.export.conftest import Command

from cae_export import OutputExistsError, RefusedError, UsageError, calibrate, calibration, export_part
from cae_export.detector import thresholds
from cae_export.graphs.onnx_files import build_file
from cae_runtime import Session
from cae_runtime.tasks.anomaly import Detector
from cae_runtime.tasks.anomaly.false_alarms import threshold_of

FIXTURES = Path(__file__).parents[1] / "runtime" / "fixtures"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Thirty pictures of 48x40, each of one gray."""
    folder = tmp_path / "good"
    folder.mkdir()
    for i in range(30):
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full((40, 48, 3), 130 + i, np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_more_good_pictures_change_the_threshold(cae_export: Command, good: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.onnx"
    done = cae_export(FIXTURES / "anomaly.onnx", "--calibrate", good, "-o", target, "--false-alarms", "0.1")
    assert done.returncode == 0, done.stderr
    assert "set for 10.0% of false alarms on 30 images of good; " in done.stdout
    assert "of 30 good pictures score higher" in done.stdout
    assert "note: not counted: 1 picture that could not be read" in done.stderr
    assert "set the threshold of this file before" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"next: cae-run {good} -o heat/ -m {target}"
    old, spec = Session(FIXTURES / "anomaly.onnx").spec, Session(target).spec
    assert (spec.threshold_images, spec.threshold_size, spec.false_alarms) == (30, 48 * 40, 0.1)
    assert spec.good_brightness == pytest.approx((130 / 255, 159 / 255))
    assert spec.threshold == pytest.approx(threshold_of(spec, 0.1))
    assert spec.threshold != old.threshold
    detector = Detector(target)
    scores = [detector(cv2.imread(str(path))).score for path in sorted(good.glob("[0-9]*.png"))]
    assert spec.good_scores == pytest.approx(sorted(scores))
    graphs = [onnx.load(path).graph for path in (FIXTURES / "anomaly.onnx", target)]
    assert graphs[0] == graphs[1], "the network stays as it is"


def test_calibrating_an_unsuitable_file_is_refused_with_the_reason(good: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.onnx"
    with pytest.raises(UsageError, match="is made for task 'encode'"):
        calibrate(FIXTURES / "encode.onnx", good, target)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="has no images"):
        calibrate(FIXTURES / "anomaly.onnx", tmp_path / "none", target)
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        calibrate(FIXTURES / "anomaly.onnx", good, target)
    assert target.read_bytes() == b"mine"
    calibrate(FIXTURES / "anomaly.onnx", good, target, overwrite=True)
    assert Session(target).spec.false_alarms == 0.05, "that of the model"


def test_a_false_alarm_rate_of_zero_is_refused(good: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="a share of 0 false alarms cannot be set: 30 good pictures allow"):
        calibrate(FIXTURES / "anomaly.onnx", good, tmp_path / "new.onnx", false_alarms=0)
    assert not (tmp_path / "new.onnx").exists()


def test_the_folder_of_the_good_pictures_is_named(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good)
    report = calibrate(FIXTURES / "anomaly.onnx", ".", tmp_path / "new.onnx")
    assert report.spec.evaluated_on == "30 images of good"


@pytest.mark.parametrize("fitted_to", ["30 images of good", "20 of 30 images of good", "130 images of good"])
def test_pictures_that_the_detector_knows_are_suspected(good: Path, tmp_path: Path, fitted_to: str) -> None:
    model = tmp_path / "model.onnx"
    spec = replace(Session(FIXTURES / "anomaly.onnx").spec, evaluated_on=fitted_to)
    model.write_bytes(build_file(onnx.load(FIXTURES / "anomaly.onnx"), spec).content)
    notes = calibrate(model, good, tmp_path / "new.onnx").notes
    known = [note for note in notes if "30 images of good set the threshold of this file before" in note]
    assert len(known) == (fitted_to != "130 images of good")


@pytest.mark.parametrize(
    ("name", "value"), [("false_alarms", "0.1"), ("false_alarms", True), ("overwrite", "no"), ("output", 5)]
)
def test_arguments_of_another_type_are_refused_by_name(good: Path, tmp_path: Path, name: str, value: Any) -> None:
    target = tmp_path / "new.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match=f"{name} is {value!r}: ") as refused:
        calibrate(FIXTURES / "anomaly.onnx", good, **{"output": target, "overwrite": True} | {name: value})
    assert isinstance(refused.value, TypeError)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("false_alarms", "0.1"), ("overlap", 8.5), ("overlap", "8"), ("tolerance", "1"), ("overwrite", 0)],
)
def test_options_of_an_export_are_refused_by_name(tmp_path: Path, name: str, value: Any) -> None:
    options: Any = {name: value}
    with pytest.raises(UsageError, match=f"{name} is {value!r}: ") as refused:
        export_part(tmp_path / "none.pt", "anomaly", **options)
    assert isinstance(refused.value, TypeError)


def test_calibration_keeps_few_pixels_of_each_picture_in_memory(
    good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Heat maps of hundreds of photos do not fit into memory."""
    kept: list[np.ndarray] = []

    def watched(found: list[thresholds.Seen], *rest: Any) -> thresholds.Thresholds:
        kept.extend(one.pixels for one in found)
        return thresholds.thresholds_of(found, *rest)

    monkeypatch.setattr(thresholds, "PIXELS_IN_ALL", 3100)
    monkeypatch.setattr(calibration, "thresholds_of", watched)
    calibrate(FIXTURES / "anomaly.onnx", good, tmp_path / "new.onnx")
    assert [pixels.size for pixels in kept] == [96] * 30  # of 1,920, every 20th
    assert all(pixels.base is None for pixels in kept)


def test_calibrate_refuses_options_of_other_commands(cae_export: Command, good: Path) -> None:
    done = cae_export(FIXTURES / "anomaly.onnx", "--calibrate", good, "--int8")
    assert (done.returncode, "--calibrate takes no --int8" in done.stderr) == (2, True)
    assert cae_export("--calibrate", good).returncode == 2
