"""The figures of a model card: denoising beside the noisy input and beside published networks, as a Markdown table.

    python -m tests.benchmarks.denoising.denoising CLEAN [--noisy25 FOLDER] [--real CLEAN NOISY] [--model NAME ...]
                                         [--peer 'ffdnet_color_clip_sigma{level}.onnx' --real-level 10]

CLEAN is a folder of clean pictures. Noise of sigma 15, 25 and 50 is drawn on it with a fixed seed, clipped and rounded
to 8 bits; `--noisy25` takes sigma 25 from files instead. `--real` adds pairs of a real camera, and the clean pictures
themselves are cleaned too: how much is lost where nothing was to be done. A peer is told the level, and takes whole
pictures as `x`, N x 3 x H x W in 0..1. PSNR and SSIM as in `tests.benchmarks.denoising.quality`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tests.benchmarks.denoising.quality import Image, figures, pairs, read
from tests.benchmarks.running.speed import session

from cae_runtime import Restorer

SIGMAS = (15, 25, 50)
Cleaner = Callable[[Image], Image]


def noisy(clean: Image, sigma: float, seed: int) -> Image:
    """White Gaussian noise on H x W x 3, clipped and rounded to 8 bits."""
    noise = np.random.default_rng((seed, int(sigma))).normal(0, sigma, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def peer(path: Path, threads: int) -> Cleaner:
    """A published network on a whole picture, BGR in and out, its sides made even by repeating the last row."""
    each = session(path, threads)

    def clean(image: Image) -> Image:
        height, width = image.shape[:2]
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        rgb = np.ascontiguousarray(even[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / 255
        output = np.asarray(each.run(None, {"x": rgb})[0])[0].transpose(1, 2, 0)[:height, :width, ::-1]
        return np.rint(output.clip(0, 1) * 255).astype(np.uint8)

    return clean


def cell(both: list[tuple[Image, Image]]) -> str:
    """PSNR and SSIM of (clean, result) pictures as a table shows them."""
    psnr, ssim = figures(both)
    return f"{psnr:.2f} / {ssim:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--noisy25", type=Path)
    parser.add_argument("--real", type=Path, nargs=2, metavar=("CLEAN", "NOISY"))
    parser.add_argument("--model", action="append")
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--peer")
    parser.add_argument("--real-level", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    for folder in (args.clean, args.noisy25, *(args.real or ())):
        if folder and not folder.is_dir():
            parser.error(f"{folder} is not a folder")
    originals = [read(path) for path in sorted(args.clean.iterdir()) if path.is_file()]
    sets: dict[str, tuple[int, list[tuple[Image, Image]]]] = {}  # title -> the peer's level, (clean, noisy) pictures
    for sigma in SIGMAS:
        drawn = [(image, noisy(image, sigma, number)) for number, image in enumerate(originals)]
        sets[f"sigma {sigma}"] = (sigma, pairs(args.clean, args.noisy25) if sigma == 25 and args.noisy25 else drawn)
    if args.real:
        sets["real camera"] = (args.real_level, pairs(*args.real))
    sets["clean"] = (0, [(image, image) for image in originals])

    restorers = {name: Restorer(name, overlap=args.overlap, threads=args.threads) for name in args.model or ["denoise"]}
    print(f"| | {' | '.join(sets)} |\n| --- |{' ---: |' * len(sets)}")
    print(f"| input | {' | '.join(cell(both) for _, both in sets.values())} |")
    if args.peer:
        row = []
        for level, both in sets.values():
            clean = peer(Path(args.peer.format(level=level)), args.threads) if level else None
            row.append(cell([(a, clean(b)) for a, b in both]) if clean else "")
        print(f"| peer, told the level | {' | '.join(row)} |")
    for name, restorer in restorers.items():
        row = [cell([(a, restorer(b)) for a, b in both]) for _, both in sets.values()]
        print(f"| `{name}` | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
