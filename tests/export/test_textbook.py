"""Every network from training through proof and quantization to the runtime; a new network too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from tests.export.conftest import Command
from tests.in_process import run_here, text_of

from cae_export import UsageError, export
from cae_runtime import Restorer, Session
from cae_train import Hardware, TrainConfig, train
from cae_train.models import ARCHITECTURES, Architecture

pytestmark = pytest.mark.slow

NETWORKS: dict[str, dict[str, Any]] = {
    "cae": {"down": "average", "up": "bilinear", "batch_norm": True, "code": 32},
    "vae": {"latent": 16},
    "sparse": {"penalty": "kl"},
    "stacked": {"down": "stride", "up": "transposed"},
    "vgg16": {"layers": 2, "pretrained": False},
}
NEW_NETWORK = """
from dataclasses import dataclass

from torch import nn

from cae_train.models.base import Autoencoder


@dataclass(frozen=True)
class TinyOptions:
    width: int = 8


class Tiny(Autoencoder):
    stride = 1

    def __init__(self, options, channels):
        super().__init__()
        self.options, self.channels = options, channels
        self.encoder = nn.Conv2d(channels, options.width, 3, padding=1)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Conv2d(options.width, channels, 3, padding=1), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))
"""


def trained(arch: str, options: dict[str, Any], photos: Path, out: Path, degrade: str = "salt-pepper:0.1") -> Path:
    epochs = 4 if arch == "stacked" else 1
    config = TrainConfig(
        data=(str(photos),), arch=arch, model=options, degrade=(degrade,), epochs=epochs, epoch_crops=640, batch=32
    )
    return train(config, out, hardware=Hardware(accelerator="cpu", devices="1")).model


@pytest.fixture(scope="module", params=NETWORKS)
def model(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(request.param, NETWORKS[request.param], photos, tmp_path_factory.mktemp(request.param) / "run")


def test_every_textbook_network_is_exported_proved_and_run(model: Path, photos: Path) -> None:
    report = export(model)
    arch = model.parent.parent.name.rstrip("0123456789")
    assert [row.batch for row in report.parity] == [1, 2, 7, 64]
    assert report.spec.task == "restore"
    assert report.spec.degradation == "salt-pepper:0.1"
    assert report.spec.architecture == ("vgg16" if arch == "vgg" else arch)
    nodes = {node.op_type for node in onnx.load(report.path).graph.node}
    assert nodes.isdisjoint({"BatchNormalization", "RandomNormal", "RandomNormalLike"})
    image = cv2.imread(str(photos / "chelsea.png"))[:70, :90]
    cleaned = Restorer(report.path)(image)
    assert cleaned.shape == image.shape
    assert cleaned.std() > 1, "it is a picture"
    if arch == "vae":
        with pytest.raises(UsageError, match="patch is 64: vae takes 32 only"):
            export(model, model.with_name("large.onnx"), patch=64)
        assert [path.name for path in model.parent.glob("*.onnx")] == ["model.onnx"]


@pytest.mark.parametrize("model", ["cae", "vae"], indirect=True)
def test_int8_of_other_networks_than_skip_stays_close_to_fp32(model: Path) -> None:
    report = export(model, precision="int8", max_drop=1)
    assert report.spec.precision == "int8"
    assert report.psnr_out == pytest.approx(report.psnr_fp32, abs=1)
    assert report.bytes < report.fp32_bytes / 2


def test_a_plain_autoencoder_is_said_to_reproduce_its_input(photos: Path, tmp_path: Path, cae_export: Command) -> None:
    model = trained("vae", {"latent": 16}, photos, tmp_path / "run", degrade="none")
    done = cae_export(model)
    assert done.returncode == 0
    assert "note: its output is worse" not in done.stderr, "nothing is better than the input itself"
    assert "degraded" not in done.stdout, "its input is its target"
    assert re.search(r"^\d+ patches of .*: fp32 \d+\.\d\d dB$", done.stdout, re.MULTILINE)
    assert f"next: cae-run photos/ -o reconstructed/ -m {model.with_suffix('.onnx')}" in done.stderr
    words = [photos / "rocket.png", "-o", tmp_path / "out.png", "-m", model.with_suffix(".onnx")]
    ran = text_of(run_here("cae_runtime", words))
    assert ran.returncode == 0
    assert "was trained on clean images" in ran.stderr
    assert (tmp_path / "out.png").is_file()


def test_adding_a_network_takes_one_file_and_one_registration(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_network.py").write_text(NEW_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    import tiny_network  # type: ignore[import-not-found]

    monkeypatch.setitem(
        ARCHITECTURES, "tiny", Architecture(tiny_network.Tiny, tiny_network.TinyOptions, "two convolutions")
    )
    model = trained("tiny", {"width": 16}, photos, tmp_path / "run")
    report = export(model)
    assert Session(report.path).spec.architecture == "tiny"
    assert Restorer(report.path)(np.zeros((40, 50, 3), np.uint8)).shape == (40, 50, 3)
    from cae_train.cli.choices import listing

    assert any(line.startswith("  tiny") and "two convolutions" in line for line in listing())
