"""What an opened model and a call of it take, as Python programs see it.

    python -m tests.benchmarks.running.memory [--model denoise] [--threads 2] [--width 6000] [--height 4000]

Megabytes of resident memory (Linux), above what is there after the imports; opening is a median of nine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

from tests.benchmarks.running.folder import picture

from cae_runtime import Restorer


def now() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    args = parser.parse_args()
    image = picture(args.width, args.height)
    before = now()
    restore = Restorer(args.model, provider="cpu", threads=args.threads)
    opened = now() - before
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = now()
    result = restore(image)
    print(f"opened: {opened:.0f} MB; picture and result: {image.nbytes / 1e6:.0f} MB each; a call, with its result: "
          f"{max(0, peak() - before):.0f} MB")  # fmt: skip
    del result
    taken = []
    for _ in range(9):
        started = time.perf_counter()
        Restorer(args.model, provider="cpu", threads=args.threads).close()
        taken.append(time.perf_counter() - started)
    print(f"opening: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
