"""Live runs: what they add to the network's own time, window and overlay included, and their memory.

    python -m tests.benchmarks.running.live share  [--model denoise --model denoise-int8] [--frames 150] [--threads 2]
    python -m tests.benchmarks.running.live memory [--model denoise-fast-int8] [--frames 20000]

`share` plays noisy frames of 640x480 faster than they can be cleaned, in a window with the overlay where there is a
display (`xvfb-run -s '-screen 0 1280x900x24'` gives one), and says where there is none; beside it, the same patches
through bare sessions of one thread, side by side. `memory` is without a window, at 320x240, and prints resident memory
as the frames go by.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from tests.benchmarks.running.folder import resident

import cae_runtime.live.run
from cae_runtime import Restorer
from cae_runtime.cli.benchmark import noisy_frame
from cae_runtime.inference.tiling import origins
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture
from cae_runtime.live.overlay import ViewState
from cae_runtime.live.run import run_live
from cae_runtime.live.settings import LiveSettings
from cae_runtime.screen.window import DisplayTrial

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)
Threads = Annotated[int, typer.Option()]


class Endless:
    """A camera that has a few noisy frames, and gives them at a rate that nobody reaches."""

    def __init__(self, width: int, height: int, rate: float) -> None:
        random = np.random.default_rng(0)
        frame = noisy_frame(width, height)
        frames = [np.clip(frame + random.normal(0, 10, frame.shape), 0, 255).astype(np.uint8) for _ in range(8)]
        self._frames, self._pause = self._all(frames), 1 / rate

    @staticmethod
    def _all(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            yield from frames

    def read(self) -> tuple[bool, Any]:
        time.sleep(self._pause)
        return True, next(self._frames).copy()

    def get(self, _property: int, /) -> float:
        return 0.0

    def release(self) -> None:
        pass


def play(width: int, height: int, rate: float, **settings: Any) -> dict[str, Any]:
    """Run live on an endless camera, and return the figures of the whole."""
    reports: list[dict[str, Any]] = []
    camera = partial(Endless, width, height, rate)
    capture = partial(Capture, opener=lambda _: camera())
    cae_runtime.live.run.Capture, before = capture, cae_runtime.live.run.Capture  # type: ignore[attr-defined]
    tell = settings.pop("on_report", lambda _: None)
    try:
        run_live(
            LiveSettings(Source("camera 0", 0), **settings), print, lambda line: (reports.append(line), tell(line))
        )  # type: ignore[func-returns-value]
    finally:
        cae_runtime.live.run.Capture = before  # type: ignore[attr-defined]
    return reports[-1]


@app.command()
def share(model: Annotated[list[str] | None, typer.Option()] = None, frames: int = 150, threads: Threads = 2) -> None:
    """The share of a frame's time that is not the network's."""
    cae_runtime.live.run.ViewState = partial(ViewState, figures=True)  # type: ignore[attr-defined]
    window = DisplayTrial().succeeds()
    if not window:
        print("no display: measured without a window", flush=True)
    for name in model or ["denoise", "denoise-int8"]:
        restorer = Restorer(name, provider="cpu", threads=threads)
        bare = bare_seconds(restorer, 640, 480)
        for temporal in (True, False):
            figures = play(
                640,
                480,
                120,
                model=name,
                open_model=lambda _, ready=restorer: ready,
                frames=frames,
                temporal=temporal,
                window=window,
            )
            whole = figures["ms_p50"]
            print(
                f"{name}, temporal {'on' if temporal else 'off'}: {whole:.1f} ms a frame, network alone "
                f"{bare * 1e3:.1f} ms: {1 - bare * 1e3 / whole:.0%} is not the network",
                flush=True,
            )


def bare_seconds(restorer: Restorer, width: int, height: int) -> float:
    """Median seconds that onnxruntime takes for a frame's patches, calls side by side."""
    spec = restorer.spec
    count = len(origins(width, spec.patch, restorer.overlap)) * len(origins(height, spec.patch, restorer.overlap))
    patches = np.random.default_rng(0).random(spec.shape(count), np.float32)
    batches = np.array_split(patches, -(-count // restorer.batch))
    times = []
    with ThreadPoolExecutor(restorer.session.workers) as pool:
        for _ in range(30):
            started = time.perf_counter()
            list(pool.map(restorer.session.run, batches))
            times.append(time.perf_counter() - started)
    return statistics.median(times)


@app.command()
def memory(model: str = "denoise-fast-int8", frames: int = 20_000, threads: Threads = 2) -> None:
    """Resident memory over many frames."""
    seen: list[tuple[int, float]] = []

    def note(line: dict[str, Any]) -> None:
        seen.append((line["frames"], resident("VmRSS")))

    restorer = Restorer(model, provider="cpu", threads=threads)
    play(320, 240, 1000, model=model, open_model=lambda _: restorer, frames=frames, window=False, on_report=note)
    marks = [count for count in (1000, 2000, 5000, 10_000, frames) if count <= frames]
    sizes = [next(size for count, size in seen if count >= mark) for mark in marks]
    print(f"{model}: " + ", ".join(f"{size:.1f} MiB after {mark}" for mark, size in zip(marks, sizes, strict=True)))


if __name__ == "__main__":
    app()
