"""What stretching is worth: simulated 16-bit pictures whose noise is fainter than a model was trained for.

    python -m tests.benchmarks.faint [--model NAME ...] [--side 512]

The scenes are those of `tests/runtime/faint.py`. Error: the root mean square error as a multiple of the noisy one's,
with and without stretching. Mean: how far it moves, in sigmas of the noise. Light: how far that of a star with a peak
of 5 sigma and more moves in a circle of 4 pixels, the median and the largest. Time: the processor's, as a multiple of
that without stretching, interleaved medians; "measured" is a picture that is measured and not stretched.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from tests.runtime.faint import SCENES, light, made, rms

from cae_runtime import Restorer
from cae_runtime.io.arrays import Image

REPEATS = 7


def ratio(first: Callable[[Image], Image], second: Callable[[Image], Image], image: Image) -> float:
    """Median processor time of one over that of the other, interleaved."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for call, times in zip((first, second), taken, strict=True):
            start = time.process_time()
            call(image)
            times.append(time.process_time() - start)
    return statistics.median(taken[0]) / statistics.median(taken[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--side", type=int, default=512)
    args = parser.parse_args()
    print("| model | scene | error | not stretched | mean | light | time |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in args.model or ["denoise"]:
        restore = Restorer(name)
        plain = Restorer(restore.session, stretch=False)
        for title in SCENES:
            scene = made(title, args.side)
            noisy, truth = scene.noisy, scene.truth
            cleaned = restore(noisy)
            errors = [rms(picture, truth) / rms(noisy, truth) for picture in (cleaned, plain(noisy))]
            moved = abs(cleaned.mean() - noisy.mean()) / scene.sigma
            stars = ""
            if scene.stars:
                before, after, true = (light(picture, scene) for picture in (noisy, cleaned, truth))
                shares = np.abs(after - before) / true
                stars = f"{np.median(shares):.1%}, {shares.max():.1%}"
            cost = ratio(restore, plain, noisy)
            print(f"| `{name}` | {title} | {errors[0]:.2f} | {errors[1]:.2f} | {moved:.3f} | {stars} | {cost:.2f} |")
        loud = np.random.default_rng(1).normal(30000, 900, (args.side, args.side)).astype(np.uint16)
        print(f"| `{name}` | measured | | | | | {ratio(restore, plain, loud):.2f} |")


if __name__ == "__main__":
    main()
