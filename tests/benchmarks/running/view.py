"""How soon the window for pictures shows a large one cleaned: from the file to the first cleaned view.

    python -m tests.benchmarks.running.view [--model denoise] [--megapixels 24] [--rounds 5]

A noisy JPEG is read and cleaned as `cae-run --view` does it, first as a whole in a window of 1280x960 with the line in
its middle, and then at 100 %; nothing is drawn. The model is open already, as for every picture but the first. The
least of all rounds is printed: seconds of the clock, and of the CPUs, which depend less on what else runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
from tests.benchmarks.running.folder import picture

from cae_runtime import Restorer
from cae_runtime.view.background import Background, Wanted
from cae_runtime.view.layer import Layer
from cae_runtime.view.placement import Placement
from cae_runtime.view.tiles import Box

WINDOW, LINE = (1280, 960), 0.5


def seen(layer: Layer | None, boxes: tuple[Box, ...]) -> bool:
    return layer is not None and all(layer.next_tile(box) is None for box in boxes)


def first_view(path: Path, restorer: Restorer, size: tuple[int, int], *, whole: bool) -> tuple[float, float]:
    """Return the seconds until what is right of the line is cleaned, by the clock and by the CPUs."""
    placement = Placement(size, WINDOW)
    if whole:
        width, height = placement.size
        wanted = Wanted((Box(0, int(LINE * width), height, width),), placement.size)
    else:
        placement.zoom_to(1, (WINDOW[0] // 2, WINDOW[1] // 2))
        wanted = Wanted((placement.seen(LINE),), None)
    background = Background()
    background.want(wanted)
    clock, cpu = time.perf_counter(), time.process_time()
    background.open(path, restorer)
    while not seen(background.small if whole else background.full, wanted.seen):
        time.sleep(0.002)
    taken = time.perf_counter() - clock, time.process_time() - cpu
    background.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    width = round((args.megapixels * 1e6 * 3 / 2) ** 0.5)
    size = (width, round(width * 2 / 3))
    with tempfile.TemporaryDirectory() as folder, Restorer(args.model, pin_threads=True) as restorer:
        path = Path(folder) / "photo.jpg"
        cv2.imwrite(str(path), picture(*size), [cv2.IMWRITE_JPEG_QUALITY, 92])
        for whole, name in ((True, "as a whole"), (False, "at 100 %")):
            found = [first_view(path, restorer, size, whole=whole) for _ in range(args.rounds + 1)]
            clock, cpu = (min(column) for column in zip(*found, strict=True))
            print(f"{size[0]}x{size[1]}, {name}: {clock:.2f} s, {cpu:.2f} CPU seconds ({cpu / 2:.2f} s on two CPUs)")


if __name__ == "__main__":
    main()
