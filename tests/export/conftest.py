"""What the export's tests share: photographs that are really photographs, a model trained on them, the command."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest
import torch
from skimage import data
from tests.in_process import run_here, text_of
from torch import nn

from cae_export.graphs import convert
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


@pytest.fixture(scope="session", autouse=True)
def each_network_converted_once() -> Iterator[None]:
    """Convert a network once, and give a copy of its graph when the same one is converted again: it takes seconds."""
    known: dict[Any, onnx.ModelProto] = {}
    real = convert._converted

    def converted(network: nn.Module, *how: Any) -> onnx.ModelProto:
        key = identity(network, how)
        if key is None:
            return real(network, *how)
        if key not in known:
            known[key] = real(network, *how)
        copy = onnx.ModelProto()
        copy.CopyFrom(known[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "_converted", converted)
        yield


def identity(network: nn.Module, how: Any) -> str | None:
    """Everything that decides on a network's graph: settings, attributes, weights; None if it cannot be told."""
    parts = [repr(how), torch.__version__]
    for name, module in network.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")}
        parts.append(f"{name} {type(module).__module__}.{type(module).__qualname__} {own}")
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        content = value.detach().contiguous().numpy().tobytes()
        parts.append(f"{name} {value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}")
    text = "\n".join(parts)
    return None if " at 0x" in text else text  # an object that is known by its address alone


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
