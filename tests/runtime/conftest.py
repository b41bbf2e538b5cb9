"""What the runtime's tests share: the tiny models, noisy pictures, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.in_process import run_here

FIXTURES = Path(__file__).parent / "fixtures"
COMMAND = Path(sys.executable).parent / ("cae-run.exe" if os.name == "nt" else "cae-run")

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def fixture_model() -> Callable[[str], Path]:
    """Return the path of a tiny model by its name."""
    return lambda name: FIXTURES / f"{name}.onnx"


@pytest.fixture(scope="session")
def cae_run() -> Command:
    """Run `cae-run` with the identity model (or `model=...`), in this process or as the installed script."""

    def run(
        *args: object,
        model: str | Path | None = "identity",
        stdin: bytes = b"",
        cwd: Path | None = None,
        installed: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        chosen = FIXTURES / f"{model}.onnx" if isinstance(model, str) else model
        words = [*map(str, args), *([] if chosen is None else ["-m", str(chosen)])]
        if installed:
            done = subprocess.run([COMMAND, *words], input=stdin, capture_output=True, cwd=cwd)
        else:
            done = run_here("cae_runtime", words, stdin, cwd)
        assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode()
        return done

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    """Return the same numbers in every test."""
    return np.random.default_rng(20)


@pytest.fixture
def noise(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """Return random arrays: `noise((H, W, 3))`, `noise((H, W), np.uint16)`."""

    def make(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    return make


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ten seconds with sound, of varying frame times, turned, with wide pixels, tags and a chapter."""
    from tests.runtime.clips import make_clip

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, frames=80, sound="aac", dress=True, varying=True, options={"g": "20"})
