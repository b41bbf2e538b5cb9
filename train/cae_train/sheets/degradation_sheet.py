"""A sheet that shows the effect of a chain of degradations: sample patches after each step."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cae_train.config import PATCH, TrainConfig
from cae_train.data.images import Image, Split
from cae_train.data.pairs import fixed_patches, noise_generator
from cae_train.degradations.chain import Chain, center
from cae_train.metrics import psnr
from cae_train.sheets.preview import to_bgr, write_png

SAMPLES = 8
SCALE, GAP, LINE = 4, 8, 18  # how large a patch's pixel is drawn; between patches; height of a line of text
SIZES, INK, PAPER = (0.42, 0.36, 0.3), (40, 40, 40), 255  # of text: the first that fits


def save_sheet(split: Split, config: TrainConfig, chain: Chain, path: Path) -> int:
    """Draw held-out patches as the chain of `config.degrade` makes them into a PNG, and return how many.

    Raises:
        CheckpointError: it cannot be written.
    """
    clean, stages = stages_of(split.validation, chain, config.seed)
    titles = [spec if number == 0 else f"+ {spec}" for number, spec in enumerate(config.degrade)]
    write_png(path, draw(clean, stages, titles))
    return len(clean)


def stages_of(
    images: Sequence[Image], chain: Chain, seed: int, limit: int = SAMPLES, patch: int = PATCH
) -> tuple[Tensor, list[Tensor]]:
    """Clean patches and what each step of the chain has made of them, float32 N x C x P x P in 0..1 each."""
    wide, margin = fixed_patches(images, chain.reach, seed, limit, patch)
    stages = []
    for stage in chain.stages(wide, noise_generator(seed), margin):
        stages.append(center(stage, (stage.shape[2] - patch) // 2).clamp(0, 1))
    return center(wide, margin), stages


def draw(clean: Tensor, stages: Sequence[Tensor], titles: Sequence[str], scale: int = SCALE) -> NDArray[np.uint8]:
    """Draw a sheet, uint8 H x W x 3, BGR, of float32 N x C x P x P in 0..1 each; below each patch is its PSNR."""
    side = clean.shape[-1] * scale
    heads = [_lines(title, side) for title in ("clean", *titles)]
    top = GAP + LINE * max(map(len, heads))
    cell_h, cell_w = side + LINE + GAP, len(heads) * (side + GAP) + 2 * GAP
    blocks = max(1, min(4, 6 // len(heads)))  # patches beside each other, each with its steps
    rows = -(-len(clean) // blocks)
    canvas = np.full((top + rows * cell_h, blocks * cell_w, 3), PAPER, np.uint8)
    for block in range(min(blocks, len(clean))):
        for step, lines in enumerate(heads):
            for number, line in enumerate(lines):
                _text(canvas, line, GAP + block * cell_w + step * (side + GAP), GAP + LINE * (number + 1) - 5, side)
    for step, batch in enumerate((clean, *stages)):
        for index, (patch, gain) in enumerate(zip(batch, psnr(batch, clean).tolist(), strict=True)):
            y, x = top + index // blocks * cell_h, GAP + index % blocks * cell_w + step * (side + GAP)
            picture = to_bgr(patch.expand(3, -1, -1))
            canvas[y : y + side, x : x + side] = picture.repeat(scale, 0).repeat(scale, 1)
            if step:
                _text(canvas, f"{gain:.2f} dB", x, y + side + LINE - 5, side)
    return canvas


def _lines(title: str, width: int) -> list[str]:
    """A title in lines of at most `width` pixels where commas allow it."""
    lines = [""]
    for part in title.replace(",", ",\n").splitlines():
        if lines[-1] and _width(lines[-1] + part, SIZES[0]) > width:
            lines.append("")
        lines[-1] += part
    return lines


def _width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def _text(canvas: NDArray[np.uint8], text: str, x: int, y: int, width: int) -> None:
    size = next((size for size in SIZES if _width(text, size) <= width), SIZES[-1])
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
