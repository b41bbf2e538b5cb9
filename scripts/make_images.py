"""Write the pictures of the project from scikit-image's public-domain and CC0 photographs.

    python scripts/make_images.py

`assets/samples/`: the photographs with white Gaussian noise added, clipped and rounded to 8 bits. The sheet of patches
`train/cae_train/patches.webp`. `assets/readme/before-after.png`: crops of the samples, and what `denoise` makes of
them. `assets/readme/sheet.png`: a sheet of a run. `assets/readme/degradations.png`: what each degradation makes
of crops.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data

from cae_runtime import Restorer
from cae_train import load_model
from cae_train.data.packaged import DENOISE, PATCHES, photographs
from cae_train.data.pairs import fixed_pairs, to_tensor
from cae_train.degradations.chain import center
from cae_train.degradations.registry import parse_chain
from cae_train.sheets.degradation_sheet import draw
from cae_train.sheets.preview import sheet, write_png

ROOT = Path(__file__).resolve().parent.parent
PATCH, ROWS, COLUMNS = 32, 32, 32
SAMPLES = {"astronaut": 25, "camera": 25, "chelsea": 15, "coffee": 35, "rocket": 50}  # sigma in gray levels of 255
CROPS = {  # top, left
    "chelsea": (40, 120), "astronaut": (10, 120), "camera": (80, 130), "coffee": (130, 200), "rocket": (120, 240),
}  # fmt: skip
DEGRADED = {"chelsea": (105, 125), "astronaut": (70, 200), "coffee": (150, 150)}
DEGRADATIONS = ("gaussian:25", "salt-pepper:0.05", "poisson:30", "speckle:0.3", "blur:1.5", "motion-blur:9", "jpeg:10",
                "mask:0.2")  # fmt: skip
SOURCES = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "retina",
           "rocket")  # fmt: skip


def photograph(name: str) -> NDArray[np.uint8]:
    """H x W gray or H x W x 3 BGR."""
    image: NDArray[np.uint8] = getattr(data, name)()
    return image[..., ::-1] if image.ndim == 3 else image


def write_samples(folder: Path) -> None:
    """One noisy PNG a photograph, its sigma in its name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, sigma in SAMPLES.items():
        clean = photograph(name)
        noisy = np.clip(np.rint(clean + rng.normal(0, sigma, clean.shape)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}-sigma{sigma}.png"), noisy)


def write_patches(path: Path) -> None:
    """A lossless sheet of 1024 patches, evenly many a photograph, in random order."""
    rng = np.random.default_rng(0)
    chosen: list[NDArray[np.uint8]] = []
    for index, name in enumerate(SOURCES):
        image = photograph(name)
        image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        places = [(y, x) for y in range(0, image.shape[0] - PATCH + 1, PATCH)
                  for x in range(0, image.shape[1] - PATCH + 1, PATCH)]  # fmt: skip
        count = ROWS * COLUMNS * (index + 1) // len(SOURCES) - len(chosen)
        for place in rng.choice(len(places), count, replace=False):
            y, x = places[place]
            chosen.append(image[y : y + PATCH, x : x + PATCH])
    order = rng.permutation(len(chosen))
    grid = np.stack([chosen[i] for i in order]).reshape(ROWS, COLUMNS, PATCH, PATCH, 3)
    sheet = np.ascontiguousarray(grid.swapaxes(1, 2).reshape(ROWS * PATCH, COLUMNS * PATCH, 3))
    path.write_bytes(cv2.imencode(".webp", sheet, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes())


def write_before_after(path: Path, folder: Path, side: int = 180, gap: int = 4) -> None:
    """Crops of the noisy samples above, cleaned by the packaged model below."""
    restore = Restorer()
    columns = []
    for name, (y, x) in CROPS.items():
        noisy = cv2.imread(str(folder / f"{name}-sigma{SAMPLES[name]}.png"), cv2.IMREAD_COLOR)
        window = np.s_[y : y + side, x : x + side]
        columns.append(np.concatenate([noisy[window], np.full((gap, side, 3), 255, np.uint8), restore(noisy)[window]]))
    spacer = np.full((columns[0].shape[0], gap, 3), 255, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate([part for c in columns for part in (c, spacer)][:-1], axis=1))


def write_sheet(path: Path) -> None:
    """A sheet as each epoch of a run leaves one, here of packaged patches and with the packaged model."""
    degraded, clean = fixed_pairs(photographs().validation[8:16], parse_chain(["gaussian:25"]), seed=0)
    with torch.inference_mode():
        restored = load_model(DENOISE).network(degraded)
    write_png(path, sheet(clean, degraded, restored))


def write_degradations(path: Path, side: int = 64) -> None:
    """Crops, and what each degradation makes of them."""
    stages: list[torch.Tensor] = []
    for chain in (parse_chain([spec]) for spec in DEGRADATIONS):
        margin = chain.reach
        wide = to_tensor(np.stack([
            photograph(name)[y - margin : y + side + margin, x - margin : x + side + margin, ::-1]
            for name, (y, x) in DEGRADED.items()
        ]))  # fmt: skip
        stages.append(chain(wide, torch.Generator().manual_seed(0), margin))
    write_png(path, draw(center(wide, margin), stages, DEGRADATIONS, scale=2))


if __name__ == "__main__":
    write_samples(ROOT / "assets" / "samples")
    write_patches(PATCHES)
    write_sheet(ROOT / "assets" / "readme" / "sheet.png")
    write_degradations(ROOT / "assets" / "readme" / "degradations.png")
    write_before_after(ROOT / "assets" / "readme" / "before-after.png", ROOT / "assets" / "samples")
