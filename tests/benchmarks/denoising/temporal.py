"""What the temporal filter is worth before a network: videos made of clean photographs, still and moving.

    python -m tests.benchmarks.denoising.temporal CLEAN [--model denoise ...] [--images 10] [--size 320x240]
                                                  [--threads 2]

Mean over the pictures, and the worst of them in brackets; dB are PSNR of the network with the filter less that of the
network alone. `still`: the 16th frame. `flicker`: mean absolute difference of the results of the 15th and 16th frame.
The moving scenes (pixels a frame, to the right and down; `square`: one that moves over a still picture): mean of
the 10th, 13th and 16th frame. `camera`: signal-dependent noise, correlated in space, as JPEG (tests/runtime/scenes.py).
The times are of one frame of 640x480, medians of interleaved runs of five frames: in one of five the noise is measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from tests.benchmarks.denoising.quality import read
from tests.runtime.scenes import Degrade, camera, pan, square, video, white

from cae_runtime import Restorer
from cae_runtime.video.temporal_filter import TemporalFilter

Image = NDArray[np.uint8]
NOISES = {
    "white 10": white(10),
    "white 25": white(25),
    "white 50": white(50),
    "camera, bright": camera(0.2),
    "camera, dim": camera(2),
}
PANS = {"0.5, 0.125": (0.5, 0.125), "1, 0": (1, 0), "1.3, 0.4": (1.3, 0.4), "2, 0": (2, 0), "5, 0": (5, 0)}
SQUARES = (0.5, 1, 2, 5)
LOOKED_AT = (9, 12, 15)
ROUNDS = 15


def still(restorer: Restorer, frames: list[tuple[Image, Image]]) -> tuple[float, float, float, float]:
    """PSNR of the last frame without and with the filter, flicker without and with it."""
    keep = TemporalFilter()
    filtered = [keep(noisy) for _, noisy in frames][-2:]
    clean, alone = frames[-1][0], [restorer(noisy) for _, noisy in frames[-2:]]
    both = [restorer(image) for image in filtered]
    psnr = [float(peak_signal_noise_ratio(clean, images[1])) for images in (alone, both)]
    flicker = [float(np.abs(np.subtract(*images, dtype=np.float32)).mean()) for images in (alone, both)]
    return psnr[0], psnr[1], flicker[0], flicker[1]


def moving(restorer: Restorer, frames: list[tuple[Image, Image]]) -> float:
    """Gain in dB, mean of the frames that are looked at."""
    keep = TemporalFilter()
    filtered = [keep(noisy) for _, noisy in frames]
    gains = []
    for number in LOOKED_AT:
        clean, noisy = frames[number]
        with_it, without = (peak_signal_noise_ratio(clean, restorer(x)) for x in (filtered[number], noisy))
        gains.append(with_it - without)
    return float(np.mean(gains))


def row(restorer: Restorer, photos: list[Image], name: str, noise: Degrade, width: int, height: int) -> str:
    """One line of the table."""

    def frames(scene: Callable[[int], Image], seed: int) -> list[tuple[Image, Image]]:
        return video(scene, noise, 16, seed)

    stills = [still(restorer, frames(pan(p, 0, 0, width, height), i)) for i, p in enumerate(photos)]
    alone, both, before, after = np.array(stills).T
    gains = both - alone
    cells = [
        f"{alone.mean():.2f} dB",
        f"{gains.mean():+.2f} ({gains.min():+.2f})",
        f"{before.mean():.2f} -> {after.mean():.2f} ({(after / before).max():.0%})",
    ]
    scenes: list[list[Callable[[int], Image]]] = [
        [pan(p, *step, width, height) for p in photos] for step in PANS.values()
    ]
    others = [*photos[1:], photos[0]]
    scenes += [[square(p, o, s, width, height) for p, o in zip(photos, others, strict=True)] for s in SQUARES]
    for scene in scenes:
        values = [moving(restorer, frames(one, i)) for i, one in enumerate(scene)]
        cells.append(f"{np.mean(values):+.2f} ({min(values):+.2f})")
    return f"| {name} | {' | '.join(cells)} |"


def times(restorer: Restorer, photo: Image) -> tuple[float, float]:
    """Milliseconds a frame of the network and of the filter, 640x480."""
    photo = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    frames = [noisy for _, noisy in video(lambda _: photo, white(25), 8, 0)]
    keep = TemporalFilter()
    for frame in frames:
        keep(frame)
    ways: list[Callable[[Image], Image]] = [restorer, keep]
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for way, found in zip(ways, taken, strict=True):
            time.sleep(0.03)
            started = time.perf_counter()
            for frame in frames[:5]:
                way(frame)
            found.append((time.perf_counter() - started) / 5 * 1e3)
    return statistics.median(taken[0][1:]), statistics.median(taken[1][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    cv2.setNumThreads(args.threads)
    files = sorted(path for path in args.clean.iterdir() if path.is_file())
    photos = [read(files[i * len(files) // args.images]) for i in range(args.images)]
    photos = [p if p.shape[1] >= p.shape[0] else np.ascontiguousarray(p.transpose(1, 0, 2)) for p in photos]
    restorers = {name: Restorer(name, provider="cpu", threads=args.threads) for name in args.model or ["denoise"]}
    scenes = [*(f"pan {name}" for name in PANS), *(f"square {step}" for step in SQUARES)]
    for model, restorer in restorers.items():
        network, own = times(restorer, photos[0])
        print(f"\n{model}: {network:.1f} ms a frame of 640x480, the filter {own:.2f} ms ({own / network:.0%})\n")
        print(f"| noise | network alone | still | flicker (worst) | {' | '.join(scenes)} |")
        print("| --- " * (4 + len(scenes)) + "|")
        for name, noise in NOISES.items():
            print(row(restorer, photos, name, noise, width, height), flush=True)


if __name__ == "__main__":
    main()
