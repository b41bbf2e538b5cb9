"""What the runtime adds to the network's own time: frames in memory beside onnxruntime's bare `session.run`.

    python -m tests.benchmarks.running.overhead MODEL [MODEL ...] [--threads 2] [--size 640x480 --size 1920x1080]

Medians of interleaved runs. `bare` runs the same patches, cut beforehand, in batches of the same size through one
session with that many threads inside each operator; `side by side` through a session of one thread that is called from
as many threads at once, which is what the runtime does. The overhead is the frame's time over each, minus 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tests.benchmarks.running.speed import session

from cae_runtime import Restorer
from cae_runtime.inference.model_files import find_model
from cae_runtime.inference.tiling import cut, origins

ROUNDS = 15
PAUSE = 0.03  # seconds, until the threads of the session before no longer spin; Linux parks CPUs that idle longer


def measure(model: str, width: int, height: int, threads: int) -> dict[str, float]:
    """Seconds a frame: of `Restorer()(frame)`, and of the two bare ways."""
    restorer = Restorer(model, provider="cpu", threads=threads)
    patch, overlap = restorer.spec.patch, restorer.overlap
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1), dtype=np.float32) / 255
    patches = cut(planes, origins(height, patch, overlap), origins(width, patch, overlap), patch)
    patches = patches.reshape(-1, 3, patch, patch)
    if restorer.spec.layout == "nhwc":
        patches = np.ascontiguousarray(patches.transpose(0, 2, 3, 1))
    batches = np.array_split(patches, -(-len(patches) // restorer.batch))
    inside, beside = session(find_model(model), threads), session(find_model(model), 1)
    with ThreadPoolExecutor(threads) as pool:
        ways = {
            "frame": lambda: restorer(frame),
            "bare": lambda: [inside.run(None, {"input": batch}) for batch in batches],
            "side by side": lambda: list(pool.map(lambda batch: beside.run(None, {"input": batch}), batches)),
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
