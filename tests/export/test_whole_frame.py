"""`cae-export --whole-frame`: files that take frames of any size, as other programs run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.export.conftest import Command

from cae_export import RefusedError, export_frames
from cae_export.frames import exporter
from cae_export.frames.graph import WholeFrame
from cae_runtime import ModelError, Restorer
from cae_train.checkpoint import load_model

pytestmark = pytest.mark.slow

IN_VAPOURSYNTH = """
import sys
import numpy as np
import vapoursynth as vs

model, given, made = sys.argv[1:]
picture = np.load(given)

def filled(n, f):
    frame = f.copy()
    for plane in range(3):
        np.asarray(frame[plane])[:] = picture[plane]
    return frame

blank = vs.core.std.BlankClip(format=vs.RGBS, width=picture.shape[2], height=picture.shape[1], length=1)
clip = vs.core.ort.Model(blank.std.ModifyFrame(blank, filled), network_path=model)
np.save(made, np.stack([np.asarray(plane) for plane in clip.get_frame(0)]))
"""


@pytest.fixture(scope="module")
def frame_file(trained_skip: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("frame") / "frame.onnx"
    report = export_frames(trained_skip, target, data=photos)
    assert len(report.parity) == 5
    assert max(row.difference for row in report.parity) < 1e-5
    assert report.psnr_sliding - report.psnr_out <= 0.05
    return target


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (31, 33), (64, 64), (101, 57)])
def test_whole_frames_of_any_size_equal_torch(frame_file: Path, trained_skip: Path, size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected = WholeFrame(load_model(trained_skip).network)(frames).numpy()
    session = onnxruntime.InferenceSession(frame_file, providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"input": frames.numpy()})
    assert made.shape == (2, 3, *size)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made.min() >= 0
    assert made.max() <= 1


def test_opencv_runs_a_whole_frame_file(frame_file: Path) -> None:
    frames = np.random.default_rng(0).random((1, 3, 45, 77), np.float32)
    network = cv2.dnn.readNetFromONNX(str(frame_file))
    network.setInput(frames)
    session = onnxruntime.InferenceSession(frame_file, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(network.forward(), session.run(None, {"input": frames})[0], atol=1e-4)


def test_vapoursynth_runs_a_whole_frame_file(frame_file: Path, tmp_path: Path) -> None:
    python = os.environ.get("CAE_VAPOURSYNTH") or sys.executable  # it may need another Python than this one
    wanted = "import numpy, vapoursynth; vapoursynth.core.ort"
    if subprocess.run([python, "-c", wanted], capture_output=True).returncode:
        pytest.skip("needs vapoursynth and vapoursynth-mlrt-ort; CAE_VAPOURSYNTH may name a Python that has them")
    frame = np.random.default_rng(0).random((3, 45, 77), np.float32)
    np.save(tmp_path / "in.npy", frame)
    files = [str(frame_file), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run([python, "-c", IN_VAPOURSYNTH, *files], check=True)
    session = onnxruntime.InferenceSession(frame_file, providers=["CPUExecutionProvider"])
    (wanted_frame,) = session.run(None, {"input": frame[None]})[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted_frame, atol=1e-5)


def test_the_runtime_explains_that_it_does_not_take_whole_frame_files(frame_file: Path) -> None:
    model = onnx.load(frame_file)
    for value in (model.graph.input[0], model.graph.output[0]):
        sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        assert sizes == ["N", 3, "H", "W"]
    assert {entry.key: entry.value for entry in model.metadata_props}["whole_frame"] == "1"
    with pytest.raises(ModelError, match="takes whole frames, for chaiNNer, VapourSynth, OpenCV and other programs"):
        Restorer(frame_file)


def test_whole_frame_files_can_be_fp16_and_have_custom_names(
    cae_export: Command, trained_skip: Path, photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "half.onnx"
    done = cae_export(trained_skip, "--whole-frame", "--fp16", "--data", photos, "--input-name", "x", "-o", target)
    assert done.returncode == 0, done.stderr
    assert "torch against fp16 in onnxruntime" in done.stdout
    assert "whole frames" in done.stdout
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("x", "tensor(float)")
    assert session.run(None, {"x": np.zeros((1, 3, 5, 7), np.float32)})[0].shape == (1, 3, 5, 7)


def test_unsuitable_whole_frame_exports_are_refused(
    cae_export: Command, trained_skip: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, told in [
        (("--int8",), "--whole-frame takes no --int8"),
        (("--patch", "64"), "--whole-frame takes no --patch"),
        (("--overlap", "4"), "--whole-frame takes no --overlap"),
        (("--part", "encoder"), "--whole-frame takes no --part"),
    ]:
        done = cae_export(trained_skip, "--whole-frame", *words, "-o", tmp_path / "x.onnx")
        assert done.returncode == 2
        assert told in done.stderr
    monkeypatch.setattr(exporter, "LEAST", -100.0)
    with pytest.raises(RefusedError, match="on whole frames the network gives"):
        export_frames(trained_skip, tmp_path / "x.onnx", data=photos)
    assert list(tmp_path.iterdir()) == []
