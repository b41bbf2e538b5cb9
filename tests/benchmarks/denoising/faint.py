"""What stretching is worth, and what it costs: simulated 16-bit pictures with noise fainter than a model knows.

    python -m tests.benchmarks.denoising.faint [--model NAME ...] [--side 512]
    python -m tests.benchmarks.denoising.faint cost [--model NAME ...] [--size 512x512 ...]

The scenes are those of `tests/runtime/faint.py`. Error: the root mean square error as a multiple of the noisy one's,
with and without stretching. Mean: how far it moves, in sigmas of the noise. Light: how far that of a star with a peak
of 5 sigma and more moves in a circle of 4 pixels, the median and the largest. Cost: the CPU time with stretching as a
multiple of that without, each the shortest of several interleaved runs; "measured" is a picture that is measured and
not stretched, "file" the same as a PNG that is read, cleaned and written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from tests.runtime.faint import SCENES, light, made, rms

from cae_runtime import Restorer
from cae_runtime.jobs.restore.images import clean_bytes

REPEATS = 9


def cost(call: Callable[[Restorer], object], restore: Restorer, plain: Restorer, repeats: int) -> float:
    """Shortest CPU time of a call with stretching over that without, interleaved."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for restorer, times in zip((restore, plain), taken, strict=True):
            start = time.process_time()
            call(restorer)
            times.append(time.process_time() - start)
    return min(taken[0]) / min(taken[1])


def report_errors(restore: Restorer, plain: Restorer, name: str, side: int) -> None:
    """Print a row for each scene."""
    for title in SCENES:
        scene = made(title, side)
        noisy, truth = scene.noisy, scene.truth
        cleaned = restore(noisy)
        errors = [rms(picture, truth) / rms(noisy, truth) for picture in (cleaned, plain(noisy))]
        moved = abs(cleaned.mean() - noisy.mean()) / scene.sigma
        stars = ""
        if scene.stars:
            before, after, true = (light(picture, scene) for picture in (noisy, cleaned, truth))
            shares = np.abs(after - before) / true
            stars = f"{np.median(shares):.1%}, {shares.max():.1%}"
        print(f"| `{name}` | {title} | {errors[0]:.2f} | {errors[1]:.2f} | {moved:.3f} | {stars} |")


def report_cost(restore: Restorer, plain: Restorer, name: str, size: str) -> None:
    """Print a row for a gray and a color picture of width x height."""
    width, height = map(int, size.split("x"))
    for title in ("thermal", "underexposed"):
        tile = made(title, 512).noisy
        count = (-(-height // 512), -(-width // 512), 1)[: tile.ndim]
        noisy = np.ascontiguousarray(np.tile(tile, count)[:height, :width])
        loud = np.random.default_rng(1).normal(30000, 900, noisy.shape).astype(np.uint16)
        file = cv2.imencode(".png", noisy)[1].tobytes()
        repeats = REPEATS if width * height < 2**21 else 2
        calls: list[Callable[[Restorer], object]] = [
            lambda restorer, image=noisy: restorer(image),
            lambda restorer, image=loud: restorer(image),
            lambda restorer, data=file: clean_bytes(restorer, data),
        ]
        costs = [cost(call, restore, plain, repeats) for call in calls]
        print(f"| `{name}` | {size} | {title} | {' | '.join(f'{each:.3f}' for each in costs)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["errors", "cost"], default="errors")
    parser.add_argument("--model", action="append")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--size", action="append")
    args = parser.parse_args()
    columns = ["model", "scene", "error", "not stretched", "mean", "light"]
    columns = ["model", "size", "scene", "stretched", "measured", "file"] if args.what == "cost" else columns
    print(f"| {' | '.join(columns)} |\n| --- | --- | --- |{' ---: |' * 3}")
    for name in args.model or ["denoise"]:
        restore = Restorer(name)
        plain = Restorer(restore.session, stretch=False)
        if args.what == "errors":
            report_errors(restore, plain, name, args.side)
        else:
            for size in args.size or ["512x512", "4000x3000"]:
                report_cost(restore, plain, name, size)


if __name__ == "__main__":
    main()
