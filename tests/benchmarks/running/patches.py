"""What files of different patches, or any others, cost and give: frames in memory in one interleaved run, and PSNR.

    python -m tests.benchmarks.running.patches MODEL [MODEL ...] --clean FOLDER --noisy FOLDER
                                                [--threads 2] [--size 1920x1080]

MODEL is a packaged name or a file. A Markdown table: finished Mpx/s (medians), as a multiple of the first model's, and
PSNR and SSIM as in `tests.benchmarks.denoising.quality`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from tests.benchmarks.denoising.quality import figures, pairs

from cae_runtime import Restorer

ROUNDS = 10


def speeds(restorers: list[Restorer], width: int, height: int) -> list[float]:
    """Median finished Mpx/s of each, the runs interleaved, one after the other without a pause."""
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    times: list[list[float]] = [[] for _ in restorers]
    for _ in range(ROUNDS + 1):
        for restorer, taken in zip(restorers, times, strict=True):
            started = time.perf_counter()
            restorer(frame)
            taken.append(time.perf_counter() - started)
    return [width * height / 1e6 / statistics.median(taken[1:]) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--clean", type=Path, required=True)
    parser.add_argument("--noisy", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="1920x1080")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    restorers = [Restorer(model, provider="cpu", threads=args.threads) for model in args.models]
    found = speeds(restorers, width, height)
    pictures = pairs(args.clean, args.noisy)
    print("| model | patch | Mpx/s | | PSNR | SSIM |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for model, restorer, speed in zip(args.models, restorers, found, strict=True):
        psnr, ssim = figures([(clean, restorer(noisy)) for clean, noisy in pictures])
        name = Path(model).stem
        print(
            f"| `{name}` | {restorer.spec.patch} | {speed:.1f} | {speed / found[0]:.2f} x | {psnr:.2f} | {ssim:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
