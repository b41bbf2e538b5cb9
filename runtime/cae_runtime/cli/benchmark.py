"""`cae-run --benchmark`: speed of this machine compared with OpenCV's non-local means. Each model has its own process.

python -m cae_runtime.cli.benchmark SETTINGS    measures one model and prints JSON; the command calls this
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime import errors
from cae_runtime.errors import CaeRuntimeError
from cae_runtime.inference.providers import CPU
from cae_runtime.inference.tiling import origins
from cae_shared.children import run_child

SIZES: Final = ((640, 480), (1280, 720))
NON_LOCAL_MEANS: Final = "OpenCV non-local means"
SECONDS: Final = 2.0
_FRAMES: Final = (10, 200)  # (fewest, most) in about that time
_SLOW_FRAMES: Final = (2, 10)
_STRENGTH: Final = 10.0


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        model: name of a packaged model or a file.
        provider, threads, batch, overlap: as `Restorer` takes them.
        seconds: approximate duration of the measurement of each size.
        started: the time when the measuring process was started, in seconds since 1970.
    """

    model: str
    provider: str
    threads: int | None
    batch: int | None
    overlap: int | None
    seconds: float = SECONDS
    started: float = 0.0


@dataclass(frozen=True)
class Speed:
    """Figures of one size of frame.

    Attributes:
        width: pixels of a row.
        height: pixels of a column.
        ms_p50: median time of a frame in milliseconds.
        ms_p95: the time that 95 % of the frames stay below.
        fps: frames per second, from the median.
        mpx_s: finished megapixels per second.
        bare_share: time of onnxruntime alone on the same patches, as a share of the frame's; None for a peer.
    """

    width: int
    height: int
    ms_p50: float
    ms_p95: float
    fps: float
    mpx_s: float
    bare_share: float | None = None


@dataclass(frozen=True)
class Figures:
    """What was measured on one model.

    Attributes:
        model: its name, or the file's.
        precision: `fp32`, `int8` or `fp16`.
        provider: full name of the provider in use.
        overlap: pixels shared by neighboring patches.
        start_up_s: from the start of its process to the first cleaned frame of 640x480.
        peak_memory_mib: largest resident memory of its process; None if the system does not report it.
        speeds: one entry per size.
        level_ms: milliseconds per batch of 16 in one thread at onnxruntime's highest optimization level, which is used,
            and at the level below; None on other providers than the CPU.
    """

    model: str
    precision: str
    provider: str
    overlap: int
    start_up_s: float
    peak_memory_mib: float | None
    speeds: list[Speed]
    level_ms: tuple[float, float] | None = None


def benchmark(settings: Sequence[Settings], told: Callable[[str], None] = lambda _: None) -> list[Figures]:
    """Measure models, each in its own process.

    Args:
        settings: one entry per model; `started` is filled in.
        told: called with the name of what is measured next.

    Returns:
        The figures, in the same order.

    Raises:
        ImageError, ModelError, ProviderError, UsageError: see `Restorer`.
        CaeRuntimeError: a process ended without a result.
    """
    figures = []
    for each in settings:
        told(each.model)
        arguments = json.dumps(asdict(each) | {"started": time.time()})
        command = [
            sys.executable,
            "-P",
            "-m",
            "cae_runtime.cli.benchmark",
            arguments,
        ]  # -P: not from the current folder
        done = run_child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            answer = json.loads(done.stdout)
        except json.JSONDecodeError as e:
            last = done.stderr.strip().splitlines()[-1:] or ["there was no message"]
            raise CaeRuntimeError(f"measuring {each.model} ended with code {done.returncode}: {last[0]}") from e
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        speeds = [Speed(**speed) for speed in answer.pop("speeds")]
        levels = answer.pop("level_ms")
        figures.append(Figures(**answer, speeds=speeds, level_ms=levels and tuple(levels)))
    return figures


def measure(settings: Settings) -> Figures:
    """Measure one model in this process.

    Raises:
        ModelError, ProviderError, UsageError: see `Restorer`.
    """
    from cae_runtime.inference.cpu_speed import level_times
    from cae_runtime.tasks.restore import Restorer

    restorer = Restorer(
        settings.model,
        provider=settings.provider,
        threads=settings.threads,
        batch=settings.batch,
        overlap=settings.overlap,
        pin_threads=True,
    )
    restorer(noisy_frame(*SIZES[0]))
    start_up = time.time() - settings.started
    speeds = []
    for width, height in SIZES:
        frame = noisy_frame(width, height)
        spec = restorer.spec
        count = len(origins(width, spec.patch, restorer.overlap)) * len(origins(height, spec.patch, restorer.overlap))
        count = -(-count // restorer.batch) * restorer.batch  # whole batches
        patches = np.random.default_rng(0).random(spec.shape(count), np.float32)
        batches = np.split(patches, count // restorer.batch)
        with ThreadPoolExecutor(restorer.session.workers) as pool:
            bare_run = partial(_all, pool, restorer.session.run, batches)
            times, bare = _times([partial(restorer, frame), bare_run], _FRAMES, settings.seconds)
        speeds.append(_speed(width, height, times, float(np.median(bare) / np.median(times))))
    peak = _peak_memory()
    levels = level_times(restorer.session.path) if restorer.provider == CPU else None
    return Figures(
        settings.model, restorer.spec.precision, restorer.provider, restorer.overlap, start_up, peak, speeds, levels
    )


def non_local_means(threads: int, seconds: float = SECONDS) -> list[Speed]:
    """Measure OpenCV's non-local means for color with its default windows and the same number of threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        speeds = []
        for width, height in SIZES:
            frame = noisy_frame(width, height)
            clean = partial(cv2.fastNlMeansDenoisingColored, frame, None, _STRENGTH, _STRENGTH)
            (times,) = _times([clean], _SLOW_FRAMES, seconds)
            speeds.append(_speed(width, height, times))
        return speeds
    finally:
        cv2.setNumThreads(before)


def noisy_frame(width: int, height: int) -> NDArray[np.uint8]:
    """Return smooth colors with white noise of sigma 15, shape (H, W, 3), uint8."""
    random = np.random.default_rng(0)
    corners = random.integers(40, 216, (4, 5, 3)).astype(np.float32)
    smooth = cv2.resize(corners, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = smooth + np.float32(15) * random.standard_normal(smooth.shape, np.float32)
    return noisy.clip(0, 255).astype(np.uint8)


def as_text(figures: Sequence[Figures], peer: Sequence[Speed], threads: int) -> list[str]:
    """Return the figures as lines of text."""
    from cae_runtime.inference.cpu_speed import level_note

    providers = ", ".join(sorted({each.provider for each in figures}))
    names = [*(each.model for each in figures), NON_LOCAL_MEANS]
    wide = max(len(name) for name in names)
    lines = [f"{providers}, {threads} thread{'s' if threads > 1 else ''}"]
    for index, (width, height) in enumerate(SIZES):
        lines += ["", f"{f'{width}x{height}':{wide}}   ms p50   ms p95   frames/s    Mpx/s   network alone"]
        for name, speed in zip(names, [*(each.speeds[index] for each in figures), peer[index]], strict=True):
            share = "" if speed.bare_share is None else f"{speed.bare_share:15.0%}"
            line = f"{name:{wide}} {speed.ms_p50:8.1f} {speed.ms_p95:8.1f} {speed.fps:10.1f} {speed.mpx_s:8.2f} {share}"
            lines.append(line.rstrip())
    lines += [
        "",
        "network alone: onnxruntime's time for the same patches, as a share of the frame's; frames are in memory",
    ]
    lines += ["", f"{'':{wide}} first frame after   peak memory"]
    for each in figures:
        memory = "unknown" if each.peak_memory_mib is None else f"{each.peak_memory_mib:.0f} MiB"
        lines.append(f"{each.model:{wide}} {each.start_up_s:15.2f} s {memory:>13}")
    notes = [f"{each.model}: {note}" for each in figures if each.level_ms and (note := level_note(*each.level_ms))]
    if notes:
        lines += ["", *notes]
    return lines


def as_json(figures: Sequence[Figures], peer: Sequence[Speed], threads: int) -> str:
    """Return the figures as a JSON document."""
    document = {
        "threads": threads,
        "models": [asdict(each) for each in figures],
        "peers": [{"name": NON_LOCAL_MEANS, "speeds": [asdict(speed) for speed in peer]}],
    }
    return json.dumps(document, indent=2)


def _all(pool: Executor, run: Callable[[Any], Any], batches: Sequence[Any]) -> None:
    list(pool.map(run, batches))


def _times(ways: Sequence[Callable[[], Any]], frames: tuple[int, int], seconds: float) -> list[list[float]]:
    """Return the seconds of each run of each function; they take turns for `seconds` each."""
    for way in ways:
        way()
    times: list[list[float]] = [[] for _ in ways]
    began = time.perf_counter()
    least, most = frames
    while len(times[0]) < least or (len(times[0]) < most and time.perf_counter() - began < seconds * len(ways)):
        for way, taken in zip(ways, times, strict=True):
            started = time.perf_counter()
            way()
            taken.append(time.perf_counter() - started)
    return times


def _speed(width: int, height: int, times: Sequence[float], bare_share: float | None = None) -> Speed:
    middle, high = (float(value) for value in np.percentile(times, [50, 95]))
    return Speed(width, height, middle * 1e3, high * 1e3, 1 / middle, width * height / 1e6 / middle, bare_share)


def _peak_memory() -> float | None:
    """Return this process's largest resident memory in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the parent's memory from before exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(measure(Settings(**json.loads(sys.argv[1]))))))
    except CaeRuntimeError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
