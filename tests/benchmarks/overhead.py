"""What the runtime adds to the network's own time: frames in memory beside onnxruntime's bare `session.run`.

    python -m tests.benchmarks.overhead MODEL [MODEL ...] [--threads 2] [--size 640x480 --size 1920x1080]

Medians of interleaved runs. `bare` runs the same patches, cut beforehand, in batches of 16 through one session with
that many threads inside each operator; `bare, side by side` through a session of one thread that is called from as many
threads at once, which is what the runtime does. The overhead is the frame's time over each, minus 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tests.benchmarks.speed import PATCHES, PAUSE, session

from cae_runtime import Restorer
from cae_runtime.session import find_model
from cae_runtime.tiles import origins

ROUNDS = 15


def measure(model: str, width: int, height: int, threads: int) -> dict[str, float]:
    """Seconds a frame: of `Restorer()(frame)`, and of the two bare ways."""
    restorer = Restorer(model, provider="cpu", threads=threads)
    patch, overlap = restorer.spec.patch, restorer.overlap
    count = len(origins(width, patch, overlap)) * len(origins(height, patch, overlap))
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    batches = np.array_split(random.random((count, 3, patch, patch), dtype=np.float32), -(-count // PATCHES))
    inside, beside = session(find_model(model), threads), session(find_model(model), 1)
    with ThreadPoolExecutor(threads) as pool:
        ways = {
            "frame": lambda: restorer(frame),
            "bare": lambda: [inside.run(None, {"input": batch}) for batch in batches],
            "bare, side by side": lambda: list(pool.map(lambda batch: beside.run(None, {"input": batch}), batches)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS + 1):
            for name, way in ways.items():
                time.sleep(PAUSE)
                started = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", action="append")
    args = parser.parse_args()
    for model in args.models:
        for size in args.size or ["640x480", "1920x1080"]:
            width, height = map(int, size.split("x"))
            times = measure(model, width, height, args.threads)
            frame = times.pop("frame")
            beside = ", ".join(
                f"{frame / bare - 1:+.1%} over {name} ({bare * 1e3:.1f} ms)" for name, bare in times.items()
            )
            print(
                f"{model} {size}: {frame * 1e3:.1f} ms, {width * height / 1e6 / frame:.2f} Mpx/s, {beside}", flush=True
            )


if __name__ == "__main__":
    main()
