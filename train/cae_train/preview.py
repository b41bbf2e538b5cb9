"""Sheets that show a run to the eye: clean, noisy and denoised patches side by side, with their PSNR."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cae_train.errors import CheckpointError
from cae_train.files import whole
from cae_train.objective import psnr

SCALE, MARGIN, CAPTION, TITLE = 4, 8, 18, 30
INK, PAPER = (40, 40, 40), 255


def sheet(clean: Tensor, degraded: Tensor, restored: Tensor, columns: int = 2) -> NDArray[np.uint8]:
    """Draw a sheet, uint8 H x W x 3, BGR, from float32 N x C x P x P in 0..1 each; `columns` triples a row."""
    gains = [(float(a), float(b)) for a, b in zip(psnr(degraded, clean), psnr(restored, clean), strict=True)]
    side = clean.shape[-1] * SCALE
    cell_h, cell_w = side + CAPTION + MARGIN, 3 * (side + MARGIN) + 2 * MARGIN
    rows = -(-len(clean) // columns)
    canvas = np.full((TITLE + rows * cell_h + MARGIN, columns * cell_w + MARGIN, 3), PAPER, np.uint8)
    for column in range(columns):
        for i, title in enumerate(("clean", "noisy", "denoised")):
            _text(canvas, title, MARGIN + column * cell_w + i * (side + MARGIN), TITLE - 10, 0.5)
    for index, (before, after) in enumerate(gains):
        top = TITLE + (index // columns) * cell_h
        left = MARGIN + (index % columns) * cell_w
        captions = ("", f"{before:.2f} dB", f"{after:.2f} dB")
        for i, (batch, caption) in enumerate(zip((clean, degraded, restored), captions, strict=True)):
            x = left + i * (side + MARGIN)
            picture = _picture(batch[index])
            canvas[top : top + side, x : x + side] = picture
            _text(canvas, caption, x, top + side + CAPTION - 5, 0.42)
    return canvas


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG (uint8 H x W x 3, BGR, or H x W x 1, grey) whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as e:
        raise CheckpointError(f"{path} cannot be written: {e.strerror or e}") from e


def to_bgr(patch: Tensor) -> NDArray[np.uint8]:
    """Float 3 x H x W in 0..1, RGB, or 1 x H x W, grey -> uint8 H x W x 3, BGR, clipped and rounded."""
    rgb = patch.expand(3, -1, -1).detach().float().cpu().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(rgb[..., ::-1])


def _picture(patch: Tensor) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(to_bgr(patch), SCALE, axis=0), SCALE, axis=1)


def _text(canvas: NDArray[np.uint8], text: str, x: int, y: int, size: float) -> None:
    if text:
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
