"""How much overlap is worth its cost: PSNR and seams of a model at several overlaps, on held-out training photographs.

    python -m tests.benchmarks.denoising.overlap MODEL [MODEL ...] [--data data/bsd432] [--images 16] [--sigma 25]

The pictures are those that training holds out of DATA, with white noise, clipped to 8 bits. `loss` is against patches
that overlap by half; `patches` counts how often each pixel is computed; `seams` is the figure of
`tests.benchmarks.denoising.seams`.
"""

from __future__ import annotations

import argparse

import numpy as np
from tests.benchmarks.denoising.denoising import noisy
from tests.benchmarks.denoising.quality import figures
from tests.benchmarks.denoising.seams import seam_figure

from cae_runtime import Restorer
from cae_train import TrainConfig
from cae_train.data.images import load

OVERLAPS = (2, 4, 6, 8, 10, 12, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="data/bsd432")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--sigma", type=float, default=25)
    args = parser.parse_args()
    clean = [np.ascontiguousarray(image) for image in load(TrainConfig(data=(args.data,))).validation[: args.images]]
    degraded = [noisy(image, args.sigma, number) for number, image in enumerate(clean)]
    print("| model | overlap | patches | PSNR | loss | seams |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for model in args.models:
        restorers = {overlap: Restorer(model, overlap=overlap, color="rgb") for overlap in OVERLAPS}
        both = {
            overlap: [(image, restorer(bad)) for image, bad in zip(clean, degraded, strict=True)]
            for overlap, restorer in restorers.items()
        }
        psnr = {overlap: figures(pairs)[0] for overlap, pairs in both.items()}
        for overlap, pairs in both.items():
            patch = restorers[overlap].spec.patch
            loss, seams = psnr[OVERLAPS[-1]] - psnr[overlap], seam_figure(pairs, patch, overlap)
            print(
                f"| `{model}` | {overlap} | {(patch / (patch - overlap)) ** 2:.2f} "
                f"| {psnr[overlap]:.2f} | {loss:.3f} | {seams:.3f} |"
            )


if __name__ == "__main__":
    main()
