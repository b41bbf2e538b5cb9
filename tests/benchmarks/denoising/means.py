"""Whether cleaning keeps the mean of a picture: the cleaned picture's beside the clean one's.

    python -m tests.benchmarks.denoising.means CLEAN [--model NAME ...] [--sigma 5 15 25] [--count N]

CLEAN is a folder of clean pictures. Noise is drawn on them with a fixed seed, clipped and rounded to 8 bits, as in
`tests.benchmarks.denoising.denoising`: once on the pictures as they are, where some of the noise is cut off at black
and white before any model sees it, and once on pictures whose values are brought to at least 3 sigma from both ends. A
figure is the difference of the means of the cleaned and the clean picture, in levels of 255: the median of all pictures
and the largest. The goals are at most 0.3 where nothing is cut off, and at most 1 elsewhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tests.benchmarks.denoising.denoising import noisy
from tests.benchmarks.denoising.quality import Image, read

from cae_runtime import Restorer

DISTANCE = 3  # sigma


def compressed(clean: Image, sigma: float) -> Image:
    """The picture with values from DISTANCE * sigma to 255 - DISTANCE * sigma."""
    least = DISTANCE * sigma
    return np.rint(least + clean * (255 - 2 * least) / 255).astype(np.uint8)


def cell(restore: Restorer, pictures: list[Image], sigma: float) -> str:
    """Median and largest distance of the means."""
    found = [abs(restore(noisy(image, sigma, n)).mean() - image.mean()) for n, image in enumerate(pictures)]
    return f"{np.median(found):.2f}, {max(found):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--sigma", type=float, nargs="+", default=[5, 15, 25])
    parser.add_argument("--count", type=int)
    args = parser.parse_args()
    if not args.clean.is_dir():
        parser.error(f"{args.clean} is not a folder")
    originals = [read(path) for path in sorted(args.clean.iterdir()) if path.is_file()][: args.count]

    if max(args.sigma) * 2 * DISTANCE >= 255:
        parser.error(f"--sigma is {max(args.sigma):g}: it must be below {255 / 2 / DISTANCE:g}")

    print("| model | sigma | noise not clipped: median, largest | noise clipped to 8 bits: median, largest |")
    print("| --- | ---: | ---: | ---: |")
    for name in args.model or ["denoise"]:
        with Restorer(name) as restore:
            for sigma in args.sigma:
                cells = [cell(restore, each, sigma) for each in ([compressed(a, sigma) for a in originals], originals)]
                print(f"| `{name}` | {sigma:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
