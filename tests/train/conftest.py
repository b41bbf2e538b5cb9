"""What the training tests share: small generated photographs, tiny settings, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.in_process import run_here, text_of

from cae_train import Hardware, TrainConfig, TrainResult, train

COMMAND = Path(sys.executable).parent / ("cae-train.exe" if os.name == "nt" else "cae-train")
TINY_SKIP = {"widths": (16, 16), "down_blocks": (0, 1), "up_blocks": (0,)}

Command = Callable[..., subprocess.CompletedProcess[str]]
Settings = Callable[..., TrainConfig]
Run = Callable[..., TrainResult]


def photograph(seed: int, height: int = 64, width: int = 80) -> np.ndarray:
    """Return smooth colors with edges, uint8 H x W x 3: something that a small network learns to clean."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 6).astype(np.float32)
    image = (image - image.min()) / np.ptp(image) * 255
    cv2.circle(image, (width // 3, height // 2), height // 4, [float(c) for c in rng.integers(0, 255, 3)], -1)
    return image.astype(np.uint8)


@pytest.fixture(scope="session", autouse=True)
def few_patches() -> Iterator[None]:
    """Measure on a few held-out patches: what is tested does not depend on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cae_train.data.pairs.HELD_OUT_PATCHES", 256)
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve photographs; tests only read it."""
    folder = tmp_path_factory.mktemp("my phötos")
    for i in range(12):
        (folder / f"{i:02d}.png").write_bytes(cv2.imencode(".png", photograph(i))[1].tobytes())
    return folder


@pytest.fixture(scope="session")
def settings(photos: Path) -> Settings:
    """Return a run's settings that take a second, 30 steps an epoch, with changes by name."""

    def make(**changes: Any) -> TrainConfig:
        tiny: dict[str, Any] = {
            "data": (str(photos),), "model": TINY_SKIP, "epochs": 3, "epoch_crops": 480, "batch": 16, "lr": 3e-3,
            "ema": 0.9, "precision": "fp32", "grad_clip": 1.0,
        }  # fmt: skip
        return TrainConfig(**tiny | changes)

    return make


@pytest.fixture(scope="session")
def run() -> Run:
    """Train in this process, on the CPU."""

    def make(config: TrainConfig, out: Path, **options: Any) -> TrainResult:
        return train(config, out, hardware=Hardware(accelerator="cpu", devices="1"), **options)

    return make


@pytest.fixture(scope="session")
def finished(settings: Settings, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of three epochs; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run(settings(), folder)
    return folder


@pytest.fixture(scope="session")
def cae_train() -> Command:
    """Run `cae-train` in this process or as the installed script; no answer of it may be a traceback."""

    def start(
        *args: object, cwd: Path | None = None, env: dict[str, str] | None = None, installed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        words = [*map(str, args)]
        if installed:
            done = subprocess.run(
                [COMMAND, *words], capture_output=True, text=True, cwd=cwd, env=os.environ | (env or {})
            )
        else:
            done = text_of(run_here("cae_train", words, cwd=cwd))
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    return start


@pytest.fixture(scope="session")
def stop_at() -> Callable[..., Any]:
    """Return a callback that is Ctrl-C at a step, or whatever else is to be raised there."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    class StopAt(Callback):
        def __init__(self, step: int, error: BaseException | None = None) -> None:
            self.step, self.error = step, error or KeyboardInterrupt()

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == self.step:
                raise self.error

    return StopAt
