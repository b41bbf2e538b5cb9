"""What the export's tests share: photographs that are really photographs, a model trained on them, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from skimage import data
from tests.in_process import run_here, text_of

from cae_train import Hardware, TrainConfig, train

COMMAND = Path(sys.executable).parent / ("cae-export.exe" if os.name == "nt" else "cae-export")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four real photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        cv2.imwrite(str(folder / f"{name}.png"), getattr(data, name)()[..., ::-1])
    return folder


@pytest.fixture(scope="session", autouse=True)
def few_patches() -> Iterator[None]:
    """Train, calibrate and prove on a few patches: what is tested does not depend on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cae_train.data.pairs.HELD_OUT_PATCHES", 256)  # as the tests of training have it
        for name, count in {"CALIBRATION": 128, "PROOF": 256, "USUAL": 256}.items():
            patch.setattr(f"cae_export.evaluation_data.{name}", count)
        for module in ("parity", "parts", "converters.convert_to"):
            patch.setattr(f"cae_export.{module}.PROOF_PATCHES", 128)
        yield


@pytest.fixture(scope="session")
def trained_skip(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `model.pt` of a run of a few seconds."""
    return train_briefly("skip", photos, tmp_path_factory.mktemp("skip"))


@pytest.fixture(scope="session", params=["skip", pytest.param("cae", marks=pytest.mark.slow)])
def trained(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two networks."""
    if request.param == "skip":
        found: Path = request.getfixturevalue("trained_skip")
        return found
    return train_briefly(request.param, photos, tmp_path_factory.mktemp(request.param))


def train_briefly(arch: str, photos: Path, out: Path) -> Path:
    config = TrainConfig(
        data=(str(photos),), arch=arch, degrade=("gaussian:0-55",), epochs=1, epoch_crops=960, batch=32
    )
    return train(config, str(out), hardware=Hardware(accelerator="cpu", devices="1")).model


@pytest.fixture(scope="session")
def cae_export() -> Command:
    """Run `cae-export` in this process or as the installed script; no answer of it may be a traceback."""

    def run(
        *args: object, env: dict[str, str] | None = None, installed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        words = [*map(str, args)]
        if installed:
            done = subprocess.run([COMMAND, *words], capture_output=True, text=True, env=os.environ | (env or {}))
        else:
            done = text_of(run_here("cae_export", words))
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    return run
