"""What onnxruntime's highest optimization level and half precision cost on this CPU; both can be very slow."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.providers import CPU, ProviderChoice, by_full_name

_PROBES: Final = (
    Path(__file__).parents[1] / "probes"
)  # one small network in both precisions, made by scripts/make_probes.py
_PATCHES: Final = 16
_ROUNDS: Final = (3, 15)  # (fewest, most) in about that time
_SECONDS: Final = 1.0
_SLOWER: Final = 1.1  # a smaller difference is within the error of measurement


def is_x86() -> bool:
    """Return whether this machine has an x86 CPU."""
    return platform.machine().lower() in {"x86_64", "amd64", "i386", "i686", "x86"}


def level_times(model: Path) -> tuple[float, float]:
    """Measure a model at the highest optimization level, which is used, and at the level below.

    Args:
        model: the file.

    Returns:
        Median milliseconds per batch of 16 in one CPU thread: at the highest level, and at the level below.
    """
    highest, below = _times([_start(model), _start(model, extended=True)])
    return highest, below


def level_note(highest: float, below: float) -> str:
    """Return a warning if the highest level is slower, otherwise nothing."""
    if highest < _SLOWER * below:
        return ""
    return (
        f"onnxruntime's highest optimization level is slower on this CPU, {highest:.1f} ms for {below:.1f} ms per "
        "batch at the level below: another release of onnxruntime may be faster"
    )


def precision_times() -> tuple[float, float]:
    """Return the median milliseconds per batch of a small network on the CPU, in half and in single precision."""
    half, single = _times([_start(_PROBES / "fp16.onnx"), _start(_PROBES / "fp32.onnx")])
    return half, single


def fp16_note(precision: str, provider: str) -> str:
    """Return a warning for a model in half precision on an x86 CPU, otherwise nothing."""
    if precision != "fp16" or provider != CPU or not is_x86():
        return ""
    return (
        "note: the model is fp16, which x86 CPUs run slowly, with some releases of onnxruntime a thousand times: "
        "cae-run --doctor measures it; the fp32 or int8 model is for CPUs"
    )


def _start(model: Path, *, extended: bool = False) -> engine.InferenceSession:
    choice = ProviderChoice(by_full_name(CPU))
    return engine.start(model, model.read_bytes(), 1, choice, extended=extended)


def _times(sessions: Sequence[engine.InferenceSession]) -> list[float]:
    """Return each session's median milliseconds per run; the sessions take turns."""
    feeds = []
    for session in sessions:
        (given,) = session.get_inputs()
        dtype = np.float16 if "float16" in given.type else np.float32
        values = np.random.default_rng(0).random((_PATCHES, *given.shape[1:]), np.float32)
        feeds.append({given.name: values.astype(dtype)})
    for session, feed in zip(sessions, feeds, strict=True):
        session.run(None, feed)
    taken: list[list[float]] = [[] for _ in sessions]
    began = time.perf_counter()
    least, most = _ROUNDS
    while len(taken[0]) < least or (len(taken[0]) < most and time.perf_counter() - began < _SECONDS):
        for session, feed, each in zip(sessions, feeds, taken, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            each.append(time.perf_counter() - started)
    return [float(np.median(each)) * 1e3 for each in taken]
