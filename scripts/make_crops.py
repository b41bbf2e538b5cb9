"""Write assets/readme/crops.png: what several denoisers make of the same noisy crops.

    python -m scripts.make_crops [--peer 'ffdnet_color_clip_sigma{level}.onnx'] [--out FILE]

Public-domain and CC0 photographs of scikit-image, with white noise, with a simulated camera's, and one with its own
(the Hubble deep field, of which there is no clean version). Non-local means and the peer are given what `denoise` is
not: the strength, of a few, that comes closest to the clean picture (for Hubble, that of the measured noise).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from tests.benchmarks.denoising.denoising import peer

from cae_runtime import Restorer
from cae_train.degradations.registry import parse_chain

ROOT = Path(__file__).resolve().parent.parent
ROWS = (  # photograph, noise, top, left
    ("chelsea", "gaussian:15", 60, 170),
    ("astronaut", "gaussian:25", 20, 170),
    ("coffee", "gaussian:35", 150, 220),
    ("rocket", "gaussian:50", 120, 280),
    ("chelsea", "camera:0.85", 60, 170),
    ("astronaut", "camera:0.9", 300, 330),
    ("coffee", "camera:0.95", 150, 220),
    ("hubble_deep_field", "", 370, 520),
)
SIDE, ZOOM, GAP, TITLE = 96, 2, 4, 26
LEVELS, STRENGTHS = (10, 15, 25, 50), (3, 5, 8, 12, 17, 25, 35)

Image = NDArray[np.uint8]  # H x W x 3, BGR


def degraded(clean: Image, noise: str, seed: int) -> Image:
    """The picture with noise, 8 bits."""
    if not noise:
        return clean
    tensor = torch.from_numpy(np.ascontiguousarray(clean[:, :, ::-1].transpose(2, 0, 1))[None]).float() / 255
    result = parse_chain([noise])(tensor, torch.Generator().manual_seed(seed))[0]
    return (result * 255).round().byte().numpy().transpose(1, 2, 0)[:, :, ::-1].copy()


def measured_sigma(noisy: Image) -> float:
    """Sigma of white noise in gray levels, from what a mask without image structure finds (Immerkaer, CVIU 1996)."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(cv2.filter2D(noisy.astype(np.float32), -1, mask)).mean())


def closest(clean: Image, noisy: Image, ways: dict[int, Callable[[Image], Image]], known: bool) -> Image:
    """The result of the strength that comes closest to the clean picture, or of that of the measured noise."""
    if not known:
        sigma = measured_sigma(noisy)
        return ways[min(ways, key=lambda level: abs(level - sigma))](noisy)
    results = [way(noisy) for way in ways.values()]
    return min(results, key=lambda result: float(np.mean((result.astype(np.float32) - clean) ** 2)))


def means(strength: int) -> Callable[[Image], Image]:
    """OpenCV's non-local means."""
    return lambda noisy: cv2.fastNlMeansDenoisingColored(noisy, None, strength, strength).astype(np.uint8)


def main() -> None:
    """Parse, clean, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "readme" / "crops.png")
    args = parser.parse_args()
    restore = Restorer()
    peers = {level: peer(Path(args.peer.format(level=level)), 2) for level in LEVELS} if args.peer else {}
    titles = ["noisy", "non-local means", *(["FFDNet"] if peers else []), "denoise (ours)", "clean"]
    lines = []
    for seed, (name, noise, top, left) in enumerate(ROWS):
        clean: Image = getattr(data, name)()[:, :, ::-1].copy()
        noisy = degraded(clean, noise, seed)
        results = [noisy, closest(clean, noisy, {h: means(h) for h in STRENGTHS}, bool(noise))]
        if peers:
            results.append(closest(clean, noisy, peers, bool(noise)))
        results += [restore(noisy).astype(np.uint8), clean if noise else np.full_like(clean, 255)]
        window = np.s_[top : top + SIDE, left : left + SIDE]
        cells = [cv2.resize(r[window], None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST) for r in results]
        lines.append(np.hstack([np.pad(cell, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for cell in cells]))
    sheet = np.vstack([np.full((TITLE, lines[0].shape[1], 3), 255, np.uint8), *lines])
    for column, title in enumerate(titles):
        at = (GAP + column * (SIDE * ZOOM + GAP) + 4, TITLE - 7)
        cv2.putText(sheet, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(args.out), sheet)


if __name__ == "__main__":
    main()
