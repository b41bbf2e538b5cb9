"""Whether patch borders can be seen: steps across them against steps elsewhere, beside the same of the clean pictures.

    python -m tests.benchmarks.denoising.seams CLEAN RESULT [--patch 32] [--overlap 8]

The figure is (mean absolute step across patch borders / elsewhere), pooled over all pictures, divided by the same ratio
of the clean ones: 1 means that nothing distinguishes a border.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.tiling import origins


def steps(image: NDArray[np.uint8], patch: int, overlap: int) -> NDArray[np.float64]:
    """Sum and count of absolute steps across borders, sum and count elsewhere, both axes: shape (4,)."""
    totals = np.zeros(4)
    for axis in (0, 1):
        length = image.shape[axis]
        differences = np.abs(np.diff(image.astype(np.int16), axis=axis)).mean(axis=2)
        starts = origins(length, patch, overlap)
        at_border = np.zeros(length, bool)
        at_border[starts] = True
        at_border[(starts + patch)[starts + patch < length]] = True
        at_border = at_border[1:]  # the step between rows i and i+1 belongs to a border at i+1
        border, elsewhere = (np.compress(mask, differences, axis=axis) for mask in (at_border, ~at_border))
        totals += (border.sum(), border.size, elsewhere.sum(), elsewhere.size)
    return totals


def seam_figure(
    pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], patch: int = 32, overlap: int = 8
) -> float:
    """The figure of the module's text for (clean, result) pictures, uint8 H x W x 3."""
    ratios = []
    pooled = np.sum([[steps(image, patch, overlap) for image in pair] for pair in pairs], axis=0)
    for border, border_count, elsewhere, elsewhere_count in pooled:
        ratios.append((border / border_count) / (elsewhere / elsewhere_count))
    return float(ratios[1] / ratios[0])


def main() -> None:
    from tests.benchmarks.denoising.quality import pairs

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--overlap", type=int, default=8)
    args = parser.parse_args()
    print(f"{args.result}: {seam_figure(pairs(args.clean, args.result), args.patch, args.overlap):.4f}")


if __name__ == "__main__":
    main()
