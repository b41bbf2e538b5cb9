"""From shell to shell: `cae-run --help`, and one 640x480 picture beside bare imports of the two libraries.

    python -m tests.benchmarks.running.startup [--model denoise] [--rounds 9]

Medians of interleaved runs of whole processes; the picture is a PNG of 8 bits.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
from tests.benchmarks.running.folder import picture

IMPORTS = "import cv2, onnxruntime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    command = str(Path(sys.executable).with_name("cae-run"))
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/noisy.png", f"{folder}/clean.png"
        cv2.imwrite(source, picture(640, 480))
        commands = {
            "cae-run --help": [command, "--help"],
            IMPORTS: [sys.executable, "-c", IMPORTS],
            "one picture": [command, source, "-o", target, "-m", args.model, "--overwrite"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds + 1):
            for name, words in commands.items():
                started = time.perf_counter()
                subprocess.run(words, check=True, capture_output=True)
                times[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, seconds in middle.items():
        print(f"{name}: {seconds:.3f} s, {seconds / middle[IMPORTS]:.2f} x {IMPORTS!r}")


if __name__ == "__main__":
    main()
