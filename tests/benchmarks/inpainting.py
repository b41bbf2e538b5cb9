"""Filling holes beside OpenCV: PSNR of the filled pixels alone, mean over the pictures.

    python -m tests.benchmarks.inpainting cbsd68/clean --model runs/train/inpaint/model.onnx [--out FOLDER]

Holes are drawn with a fixed seed over each picture: lines of text, and strokes 1, 3, 5, 7 and 13 pixels wide over about
a tenth of it. OpenCV's two methods (`cv2.inpaint`; Telea, JGT 2004, and Navier-Stokes, Bertalmio et al., CVPR 2001)
have a radius of 3 pixels, its customary one. `--out` keeps the pictures of the first image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.quality import Image, read

from cae_runtime import Restorer
from cae_runtime.tasks.inpaint import Inpainter

STROKES = (1, 3, 5, 7, 13)  # odd: OpenCV draws an even width one pixel wider
COVERED = 0.1
WORDS = "the quick brown fox jumps over the lazy dog and packs my box with five dozen liquor jugs "
Mask = NDArray[np.uint8]


def strokes(height: int, width: int, thickness: int, seed: int) -> Mask:
    """Free-hand lines of one width over about a tenth of the picture: 255 where a pixel is missing."""
    rng = np.random.default_rng((seed, thickness))
    mask = np.zeros((height, width), np.uint8)
    while mask.mean() < 255 * COVERED:
        x, y, heading = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 2 * np.pi)
        points = [(x, y)]
        for _ in range(12):
            heading += rng.normal(0, 0.5)
            x, y = x + 10 * np.cos(heading), y + 10 * np.sin(heading)
            points.append((x, y))
        cv2.polylines(mask, [np.rint(points).astype(np.int32)], False, 255, thickness)
    return mask


def text(height: int, width: int, seed: int) -> Mask:
    """Lines of text across the whole picture."""
    mask = np.zeros((height, width), np.uint8)
    start = seed % len(WORDS)
    for line, y in enumerate(range(20, height, 26)):
        words = (WORDS * 3)[(start + 17 * line) % len(WORDS) :]
        cv2.putText(mask, words[: width // 9], (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return mask


def psnr_inside(clean: Image, result: Image, mask: Mask) -> float:
    """PSNR in dB of the missing pixels."""
    error = (clean[mask > 0].astype(np.float64) - result[mask > 0]) / 255
    return float(-10 * np.log10(max(float(np.square(error).mean()), 1e-10)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    inpainter = Inpainter(Restorer(given.model, overlap=16))
    methods: dict[str, Callable[[Image, Mask], Image]] = {
        "this model": lambda image, mask: inpainter(image, mask > 0),
        "Telea": lambda image, mask: cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA).astype(np.uint8),
        "Navier-Stokes": lambda image, mask: cv2.inpaint(image, mask, 3, cv2.INPAINT_NS).astype(np.uint8),
    }
    holes: dict[str, Callable[[int, int, int], Mask]] = {"text": text} | {
        f"strokes of {wide} px": lambda h, w, seed, wide=wide: strokes(h, w, wide, seed)  # type: ignore[misc]
        for wide in STROKES
    }
    files = sorted(path for path in given.clean.iterdir() if path.is_file())
    print(f"| {given.clean.name}, {len(files)} pictures | {' | '.join(methods)} |")
    print("| --- |" + " ---: |" * len(methods))
    taken = dict.fromkeys(methods, 0.0)
    for kind, draw in holes.items():
        found: dict[str, list[float]] = {name: [] for name in methods}
        for seed, path in enumerate(files):
            clean = read(path)
            mask = draw(*clean.shape[:2], seed)  # type: ignore[call-arg]
            holed = clean.copy()
            holed[mask > 0] = (255, 0, 255)
            for name, fill in methods.items():
                start = time.perf_counter()
                filled = fill(holed, mask)
                taken[name] += time.perf_counter() - start
                found[name].append(psnr_inside(clean, filled, mask))
                if given.out and not seed:
                    given.out.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(given.out / f"{kind}, {name}.png"), filled)
            if given.out and not seed:
                cv2.imwrite(str(given.out / f"{kind}, holes.png"), holed)
        print(f"| {kind} | {' | '.join(f'{np.mean(values):.2f} dB' for values in found.values())} |", flush=True)
    count = len(files) * len(holes)
    print(f"| time a picture | {' | '.join(f'{1000 * seconds / count:.0f} ms' for seconds in taken.values())} |")


if __name__ == "__main__":
    main()
