"""PSNR and SSIM of a folder of pictures against the clean ones of the same names.

    python -m tests.benchmarks.denoising.quality CLEAN RESULT [RESULT ...]

PSNR on 8-bit RGB, the whole image, averaged over images; SSIM (Wang et al., TIP 2004; Gaussian window of 11, sigma 1.5)
likewise, averaged over the channels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

Image = NDArray[np.uint8]


def read(path: Path) -> Image:
    """H x W x 3, BGR."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f"{path} cannot be read")
    return image.astype(np.uint8, copy=False)


def pairs(clean: Path, result: Path) -> list[tuple[Image, Image]]:
    """Pictures with the same stem in both folders; every clean one must have its partner."""
    for folder in (clean, result):
        if not folder.is_dir():
            sys.exit(f"{folder} is not a folder")
    found = {path.stem: path for path in result.iterdir() if path.is_file()}
    files = sorted(path for path in clean.iterdir() if path.is_file())
    missing = [path.name for path in files if path.stem not in found]
    if missing or not files:
        sys.exit(f"{result} has no picture for {missing[:3] or clean}")
    return [(read(path), read(found[path.stem])) for path in files]


def figures(both: list[tuple[Image, Image]]) -> tuple[float, float]:
    """Mean PSNR in dB and mean SSIM of (clean, result) pictures; the PSNR of equal pictures counts as infinite."""
    with np.errstate(divide="ignore"):
        psnr = np.mean([peak_signal_noise_ratio(a, b) for a, b in both])
    ssim = np.mean([
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in both
    ])  # fmt: skip
    return float(psnr), float(ssim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="folder of the clean pictures")
    parser.add_argument("result", type=Path, nargs="+", help="folders of pictures of the same names")
    given = parser.parse_args()
    for result in given.result:
        both = pairs(given.clean, result)
        psnr, ssim = figures(both)
        print(f"{result}: {psnr:.2f} dB, SSIM {ssim:.4f}, {len(both)} images")


if __name__ == "__main__":
    main()
