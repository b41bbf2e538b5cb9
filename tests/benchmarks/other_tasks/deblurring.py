"""Sharpening beside classical methods: PSNR and its gain over the blurred picture, means over the pictures.

    python -m tests.benchmarks.other_tasks.deblurring cbsd68/clean --model runs/train/deblur/model.onnx [--out FOLDER]

Pictures are blurred by a Gaussian kernel or by motion in a direction drawn with a fixed seed, reflected at their edges,
and rounded to 8 bits. The model is told nothing. Unsharp masking (OpenCV) is given the sigma of the blur, and of
several amounts the best on average for each blur; Richardson-Lucy (scikit-image) is told the very kernel, works on
reflected edges, and of several numbers of iterations the best on average counts. `--out` keeps the pictures of the
first image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import richardson_lucy
from tests.benchmarks.denoising.quality import Image, read

from cae_runtime import Restorer

AMOUNTS = (0.25, 0.5, 1.0, 1.5, 2.0)
ITERATIONS = (5, 10, 20, 40)
MARGIN = 24
Kernel = NDArray[np.float64]


def gaussian(sigma: float) -> Kernel:
    """A Gaussian kernel that reaches four sigma."""
    line = cv2.getGaussianKernel(2 * int(np.ceil(4 * sigma)) + 1, sigma)
    return np.asarray(line @ line.T, np.float64)


def motion(length: int, seed: int) -> Kernel:
    """A straight line of so many pixels in a direction of its own, drawn 16 times as large and reduced."""
    angle = np.random.default_rng((seed, length)).uniform(0, np.pi)
    side, fine = 2 * (length // 2 + 1) + 1, 16
    drawn = np.zeros((side * fine, side * fine), np.float32)
    middle = np.array([side * fine / 2, side * fine / 2])
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) * fine / 2
    ends = [tuple(int(v) for v in np.rint(middle + sign * reach)) for sign in (-1, 1)]
    cv2.line(drawn, ends[0], ends[1], 1.0, fine)
    kernel = drawn.reshape(side, fine, side, fine).sum((1, 3)).astype(np.float64)
    return np.asarray(kernel / kernel.sum())


def blurred(image: Image, kernel: Kernel) -> Image:
    """The picture through the kernel, rounded to 8 bits."""
    return np.rint(cv2.filter2D(image.astype(np.float64), -1, kernel, borderType=cv2.BORDER_REFLECT)).astype(np.uint8)


def unsharp(image: Image, sigma: float, amount: float) -> Image:
    """The picture, and `amount` times what a Gaussian of `sigma` takes from it."""
    soft = cv2.GaussianBlur(image, (0, 0), sigma)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0).astype(np.uint8)


def told(image: Image, kernel: Kernel, iterations: int) -> Image:
    """Richardson-Lucy with the kernel."""
    wide = cv2.copyMakeBorder(image, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT) / 255
    planes = [richardson_lucy(wide[..., c], kernel, num_iter=iterations) for c in range(3)]
    sharp = np.stack(planes, axis=2)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.rint(sharp.clip(0, 1) * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, help="So many alone, spread over all.")
    given = parser.parse_args()
    restore = Restorer(given.model)
    blurs: dict[str, tuple[Callable[[int], Kernel], float]] = {
        **{f"Gaussian, sigma {s:g}": (lambda _seed, s=s: gaussian(s), s) for s in (1.0, 1.5, 2.0)},  # type: ignore[misc]
        **{f"motion, {n} px": (lambda seed, n=n: motion(n, seed), n / 4) for n in (5, 7, 9)},  # type: ignore[misc]
    }
    files = sorted(path for path in given.clean.iterdir() if path.is_file())
    files = files[:: max(1, len(files) // (given.images or len(files)))]
    print(f"| {given.clean.name}, {len(files)} pictures | blurred | this model | gain | unsharp masking "
          "| Richardson-Lucy, told the kernel |")  # fmt: skip
    print("| --- |" + " ---: |" * 5)
    for kind, (kernel_of, sigma) in blurs.items():
        found: dict[str, list[float]] = {}
        for seed, path in enumerate(files):
            clean, kernel = read(path), kernel_of(seed)
            soft = blurred(clean, kernel)
            results = {"blurred": soft, "this model": restore(soft)}
            results |= {f"unsharp {amount}": unsharp(soft, sigma, amount) for amount in AMOUNTS}
            results |= {f"told {count}": told(soft, kernel, count) for count in ITERATIONS}
            for name, result in results.items():
                found.setdefault(name, []).append(float(peak_signal_noise_ratio(clean, result)))
                if given.out and not seed:
                    given.out.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(given.out / f"{kind}, {name}.png"), result)
        mean = {name: float(np.mean(values)) for name, values in found.items()}
        best = [max(value for name, value in mean.items() if name.startswith(of)) for of in ("unsharp", "told")]
        gain = mean["this model"] - mean["blurred"]
        print(f"| {kind} | {mean['blurred']:.2f} | {mean['this model']:.2f} | {gain:+.2f} | {best[0]:.2f} "
              f"| {best[1]:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
