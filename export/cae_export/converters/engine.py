"""The interface of an engine's module, and the reasons for its failures."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from cae_export.errors import RefusedError
from cae_shared.children import run_child

RUN_BATCH = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Engine:
    """An engine that files are converted for.

    Attributes:
        modules: what must be installed.
        write: takes the content of an ONNX file, its input N x ... in float32, and the absolute path of an empty
            folder, and writes the engine's files into it; returns the names of its input and its output there.
        run: takes that folder, these names and float32 patches in the file's layout, and returns the engine's output.
        channels_last: whether it takes files with channels last.
        batch: patches that a call takes where the engine needs a fixed number, else None.
    """

    modules: tuple[str, ...]
    write: Callable[[bytes, Path], tuple[str, str]]
    run: Callable[[Path, tuple[str, str], Floats], Floats]
    channels_last: bool = False
    batch: int | None = None


def ends_of(content: bytes) -> tuple[str, str]:
    """The names of a graph's input and output."""
    graph = onnx.load_from_string(content).graph
    return graph.input[0].name, graph.output[0].name


def call(engine: str, command: Sequence[str], folder: Path) -> None:
    """Run a converter as a process of its own, since some print as they please, and abort.

    Raises:
        RefusedError: it fails; the last line that it prints is the reason.
    """
    done = run_child(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace")
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RefusedError(
            f"refused: {engine} stops with code {done.returncode}: {said[-1] if said else 'it gives no reason'}"
        )
