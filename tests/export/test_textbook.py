"""Every network goes all the way: trained, proved equal, quantised or refused, and run; a new one too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.export.conftest import Command

from cae_export import RefusedError, UsageError, export
from cae_runtime import Restorer, Session
from cae_train import Hardware, TrainConfig, train
from cae_train.models import ARCHITECTURES, Architecture

NETWORKS: dict[str, dict[str, Any]] = {
    "cae": {"down": "average", "up": "bilinear", "batch_norm": True, "code": 32},
    "vae": {"latent": 16},
    "sparse": {"penalty": "kl"},
    "stacked": {"down": "stride", "up": "transposed"},
    "vgg16": {"layers": 4, "pretrained": False},
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


@pytest.mark.parametrize("arch", NETWORKS)
def test_every_network_is_proved_quantised_or_refused_and_run(arch: str, photos: Path, tmp_path: Path) -> None:
    model = trained(arch, NETWORKS[arch], photos, tmp_path / "run")
    report = export(model)
    assert [row.batch for row in report.parity] == [1, 2, 7, 64]
    assert (report.spec.architecture, report.spec.task, report.spec.degradation) == (arch, "restore", "salt-pepper:0.1")
    image = cv2.imread(str(photos / "chelsea.png"))[:70, :90]
    cleaned = Restorer(report.path)(image)
    assert cleaned.shape == image.shape
    assert cleaned.std() > 1, "it is a picture"
    try:
        quantised = export(model, precision="int8", max_drop=0.5)
    except RefusedError as e:
        assert "int8 gives" in str(e)
        assert "less (--max-drop 0.5)" in str(e)
        assert not (model.parent / "model-int8.onnx").exists()
    else:
        assert np.abs(Restorer(quantised.path)(image).astype(int) - cleaned).mean() < 8


def test_normalisation_is_no_node_of_its_own(photos: Path, tmp_path: Path) -> None:
    import onnx

    report = export(trained("cae", NETWORKS["cae"], photos, tmp_path / "run"))
    assert {node.op_type for node in onnx.load(report.path).graph.node}.isdisjoint({"BatchNormalization", "Mul", "Div"})


@pytest.mark.parametrize(("arch", "only"), [("vae", "vae takes 32 only")])
def test_a_patch_that_the_network_cannot_take(arch: str, only: str, photos: Path, tmp_path: Path) -> None:
    model = trained(arch, NETWORKS[arch], photos, tmp_path / "run")
    with pytest.raises(UsageError, match=f"--patch is 64: {only}"):
        export(model, patch=64)
    assert list(model.parent.glob("*.onnx")) == []


def test_a_plain_autoencoder_is_exported_and_run_with_a_word_on_it(
    photos: Path, tmp_path: Path, cae_export: Command
) -> None:
    import subprocess

    model = trained("vae", {"latent": 16}, photos, tmp_path / "run", degrade="none")
    done = cae_export(model)
    assert done.returncode == 0
    assert "note: its output is worse" not in done.stderr, "nothing is better than the input itself"
    command = Path(sys.executable).parent / "cae-run"
    ran = subprocess.run(
        [command, photos / "rocket.png", "-o", tmp_path / "out.png", "-m", model.with_suffix(".onnx")],
        capture_output=True, text=True,
    )  # fmt: skip
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
    from cae_train.listing import listing

    assert any(line.startswith("  tiny") and "two convolutions" in line for line in listing())
