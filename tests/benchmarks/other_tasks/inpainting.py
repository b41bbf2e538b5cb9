"""Filling holes beside OpenCV: PSNR of the filled pixels alone, mean over the pictures.

    python -m tests.benchmarks.other_tasks.inpainting cbsd68/clean [--model fill] [--out FOLDER]
    python -m tests.benchmarks.other_tasks.inpainting data/bsd432 --held-out 43
    python -m tests.benchmarks.other_tasks.inpainting photo.jpg --speed

Holes are drawn with a fixed seed over each picture: lines of text, scratches from one edge to another, and strokes and
square blocks of several widths over about a tenth of it. OpenCV's two methods (`cv2.inpaint`; Telea, JGT 2004, and
Navier-Stokes, Bertalmio et al., CVPR 2001) have a radius of 3 pixels, its customary one. `--held-out` takes so many of
the pictures that `cae-train --data FOLDER` does not learn from. `--out` keeps the pictures of the first image.

`--speed` enlarges a picture to 3000x2000 and times thirty scratches, the methods in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.denoising.kinds import held_out
from tests.benchmarks.denoising.quality import Image, read

from cae_runtime import Inpainter

STROKES = (1, 3, 5, 7, 13)  # odd: OpenCV draws an even width one pixel wider
BLOCKS = (8, 16, 32)
SCRATCHES, LARGE, TURNS = 30, (3000, 2000), 5
COVERED = 0.1
WORDS = "the quick brown fox jumps over the lazy dog and packs my box with five dozen liquor jugs "
Mask = NDArray[np.uint8]
Fill = Callable[[Image, Mask], Image]


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
    return (mask > 0).astype(np.uint8) * np.uint8(255)  # OpenCV 5 smooths the edges of letters


def blocks(height: int, width: int, side: int, seed: int) -> Mask:
    """Squares over about a tenth of the picture."""
    rng = np.random.default_rng((seed, side))
    mask = np.zeros((height, width), np.uint8)
    while mask.mean() < 255 * COVERED:
        y, x = rng.integers(height - side), rng.integers(width - side)
        mask[y : y + side, x : x + side] = 255
    return mask


def scratches(height: int, width: int, seed: int, count: int = 10) -> Mask:
    """Straight lines across the picture, 1 to 5 pixels wide."""
    rng = np.random.default_rng((seed, count))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(count):
        ends = rng.uniform(0, 1, (2, 2)) * (width, height)
        cv2.line(mask, ends[0].astype(int).tolist(), ends[1].astype(int).tolist(), 255, int(rng.integers(1, 6)))
    return mask


def psnr_inside(clean: Image, result: Image, mask: Mask) -> float:
    """PSNR in dB of the missing pixels."""
    error = (clean[mask > 0].astype(np.float64) - result[mask > 0]) / 255
    return float(-10 * np.log10(max(float(np.square(error).mean()), 1e-10)))


def methods_of(inpainter: Inpainter) -> dict[str, Fill]:
    """The methods by name; each takes a picture and a mask."""
    return {
        "this model": lambda image, mask: inpainter(image, mask),
        "Telea": lambda image, mask: cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA).astype(np.uint8),
        "Navier-Stokes": lambda image, mask: cv2.inpaint(image, mask, 3, cv2.INPAINT_NS).astype(np.uint8),
    }


def print_speed(picture: Image, methods: dict[str, Fill]) -> None:
    """Print how long each method takes for thirty scratches, wall clock and CPU, the median of some turns."""
    image = cv2.resize(picture, LARGE, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    mask = scratches(LARGE[1], LARGE[0], 0, SCRATCHES)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(TURNS):
        for name, fill in methods.items():
            start = time.perf_counter(), time.process_time()
            fill(image, mask)
            taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    telea = np.median(taken["Telea"], axis=0)
    print(f"| {SCRATCHES} scratches, {LARGE[0]}x{LARGE[1]}, {100 * (mask > 0).mean():.1f} % | time | CPU |")
    print("| --- | ---: | ---: |")
    for name, times in taken.items():
        seconds = np.median(times, axis=0)
        ratio = seconds / telea
        print(f"| {name} | {seconds[0]:.2f} s ({ratio[0]:.1f} x) | {seconds[1]:.2f} s ({ratio[1]:.1f} x) |")


def pictures_of(folder: Path, held_out_count: int | None) -> list[Image]:
    """The pictures of a folder, BGR, or some that are held out of training on it."""
    if held_out_count is not None:
        return [np.rint(picture * 255).astype(np.uint8) for picture in held_out(folder, held_out_count)]
    return [read(path) for path in sorted(path for path in folder.iterdir() if path.is_file())]


def print_table(pictures: list[Image], title: str, methods: dict[str, Fill], out: Path | None) -> None:
    """Print the PSNR of each kind of holes, and keep the pictures of the first image in `out`."""
    holes: dict[str, Callable[[int, int, int], Mask]] = {"text": text, "scratches": scratches}
    for wide in STROKES:
        holes[f"strokes of {wide} px"] = lambda h, w, seed, wide=wide: strokes(h, w, wide, seed)  # type: ignore[misc]
    for side in BLOCKS:
        holes[f"blocks of {side} px"] = lambda h, w, seed, side=side: blocks(h, w, side, seed)  # type: ignore[misc]
    print(f"| {title}, {len(pictures)} pictures | {' | '.join(methods)} |")
    print("| --- |" + " ---: |" * len(methods))
    for kind, draw in holes.items():
        found: dict[str, list[float]] = {name: [] for name in methods}
        for seed, clean in enumerate(pictures):
            mask = draw(*clean.shape[:2], seed)  # type: ignore[call-arg]
            holed = clean.copy()
            holed[mask > 0] = (255, 0, 255)
            filled = {name: fill(holed, mask) for name, fill in methods.items()}
            for name, result in filled.items():
                found[name].append(psnr_inside(clean, result, mask))
            if out and not seed:
                out.mkdir(parents=True, exist_ok=True)
                for name, result in (filled | {"holes": holed, "clean": clean}).items():
                    cv2.imwrite(str(out / f"{kind}, {name}.png"), result)
        print(f"| {kind} | {' | '.join(f'{np.mean(values):.2f} dB' for values in found.values())} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", default="fill")
    parser.add_argument("--held-out", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    methods = methods_of(Inpainter(given.model))
    if given.speed:
        print_speed(read(given.clean), methods)
    else:
        print_table(pictures_of(given.clean, given.held_out), given.clean.name, methods, given.out)


if __name__ == "__main__":
    main()
