"""Gray data, a one-channel model and its proof, and pictures cleaned with it, through the real commands."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.export.test_convert import outputs
from tests.in_process import run_here, text_of

from cae_export.graphs.convert import to_onnx
from cae_export.graphs.quantize import to_int8
from cae_runtime import Session
from cae_train.data.mnist import HEADER, MAGIC, MNIST, TEST, TRAIN
from cae_train.data.packaged import photographs
from cae_train.data.registry import DATASETS
from cae_train.models import build

COUNTS = {TRAIN: 320, TEST: 130}
TINY = "[model]\nwidths = [16, 16]\ndown_blocks = [0, 1]\nup_blocks = [0]\n"


def strokes(count: int, seed: int) -> np.ndarray:
    """Pictures of 28x28 with bright strokes on black."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 28, 28), np.uint8)
    for image in images:
        cv2.polylines(image, [rng.integers(3, 25, (4, 2)).astype(np.int32)], False, 255.0, 2, cv2.LINE_AA)
    return images


def write_data(folder: Path) -> dict[str, str]:
    """Small IDX files; the checksums of their content."""
    folder.mkdir()
    sums = {}
    for seed, (name, count) in enumerate(COUNTS.items()):
        content = HEADER.pack(MAGIC, count, 28, 28) + strokes(count, seed).tobytes()
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return sums


@pytest.mark.slow
@pytest.mark.parametrize("precision", [[], ["--int8", "--max-drop", "1"]])
def test_from_idx_files_to_cleaned_pictures(
    precision: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(MNIST, url="http://127.0.0.1:9", content=write_data(tmp_path / "data"))
    monkeypatch.setattr("cae_train.data.mnist.COUNTS", COUNTS)
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], load=small.load, find=small.find))
    (tmp_path / "tiny.toml").write_text(TINY)

    def run(package: str, *args: str) -> str:
        done = text_of(run_here(package, args, cwd=tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    said = run(
        "cae_train", "--data", "mnist", "--config", "tiny.toml", "--epochs", "2", "--batch", "16", "--ema", "0.8",
        "--lr", "0.01", "--accelerator", "cpu", "--out", "run",
    )  # fmt: skip
    assert "288 images, 32 held out" in said
    assert "mnist test: degraded" in said
    proof = run("cae_export", "run/model.pt", "-o", "gray.onnx", *precision)
    assert "130 patches of the test part of mnist" in proof
    spec = Session(tmp_path / "gray.onnx", provider="cpu").spec
    assert (spec.channels, spec.color, spec.layout, spec.framed) == (1, "gray", "nchw", 28)
    rng = np.random.default_rng(5)
    clean = np.zeros((90, 130), np.uint8)
    clean[:84, :112] = strokes(12, 9).reshape(3, 4, 28, 28).swapaxes(1, 2).reshape(84, 112)
    gray = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    color = np.stack([gray // 2 + 40, gray // 2 + 60, gray // 2 + 20], 2)
    for name, picture in (("gray", gray), ("color", color)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    run("cae_runtime", "gray.png", "color.png", "-o", "clean", "-m", "gray.onnx")
    cleaned, colors = (
        cv2.imread(str(tmp_path / "clean" / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in ("gray", "color")
    )
    assert cleaned is not None
    assert colors is not None
    assert cleaned.shape == gray.shape
    assert np.mean((cleaned.astype(float) - clean) ** 2) < 0.9 * np.mean((gray.astype(float) - clean) ** 2)
    change = colors.astype(int) - color
    assert change.any()
    assert (change == change[..., :1])[((colors > 0) & (colors < 255)).all(2)].all(), "the chroma stays"


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["skip", "cae"])
def test_every_network_exports_one_channel_models_in_fp32_and_int8(arch: str) -> None:
    torch.manual_seed(0)
    network = build(arch, None, 1).eval()
    images = np.stack(photographs(1).train[:64])
    assert images.shape[1:] == (32, 32, 1)
    patches = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    graph = to_onnx(network, 32)
    with torch.inference_mode():
        wanted = network(patches).numpy()
    assert np.abs(outputs(graph, patches.numpy()) - wanted).max() < 1e-4
    assert np.abs(outputs(to_int8(graph, patches), patches.numpy()) - wanted).mean() < 0.02


def test_packaged_patches_become_luminance_for_one_channel_models() -> None:
    gray, color = np.stack(photographs(1).validation), np.stack(photographs().validation)
    assert gray.shape == (*color.shape[:3], 1)
    assert np.abs(gray[..., 0] - color @ np.array((0.299, 0.587, 0.114))).max() <= 0.51
