"""Sheets of a run: original, degraded and restored patches side by side, with their PSNR."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cae_shared.temporary import whole_file
from cae_train.errors import CheckpointError
from cae_train.metrics import psnr
from cae_train.sheets.curves import UNCORRUPTED

SCALE, MARGIN, CAPTION, TITLE = 4, 8, 18, 30
INK, PAPER = (40, 40, 40), 255


def sheet(
    clean: Tensor,
    degraded: Tensor,
    restored: Tensor,
    columns: int = 2,
    *,
    mask: Tensor | None = None,
    samples: Tensor | None = None,
) -> NDArray[np.uint8]:
    """Draw a sheet, uint8 H x W x 3, BGR.

    Args:
        clean: float32 N x C x P x P in 0..1, as are `degraded` and `restored`.
        degraded: what was given; not drawn if it is `clean` itself.
        restored: what the network makes of it.
        columns: patches beside each other, each with its two to four pictures.
        mask: what of `degraded` is missing, N x 1 x P x P of 0 and 1; drawn as a picture of its own.
        samples: random samples of the network, M x C x P x P in 0..1; drawn below, in rows.
    """
    before, after = psnr(degraded, clean), psnr(restored, clean)
    captions = {
        name: [f"{value:.2f} dB" for value in figures.tolist()]
        for name, figures in (("degraded", before), ("restored", after))
    }
    pictures = {"original": clean}
    if mask is not None:
        pictures["mask"] = mask.float()
    if float(before.mean()) < UNCORRUPTED:
        pictures["degraded"] = degraded
    pictures["restored"] = restored
    side = clean.shape[-1] * SCALE
    cell_h, cell_w = side + CAPTION + MARGIN, len(pictures) * (side + MARGIN) + 2 * MARGIN
    width = columns * cell_w + MARGIN
    rows = -(-len(clean) // columns)
    canvas = np.full((TITLE + rows * cell_h + MARGIN, width, 3), PAPER, np.uint8)
    for column in range(columns):
        for i, title in enumerate(pictures):
            _text(canvas, title, MARGIN + column * cell_w + i * (side + MARGIN), TITLE - 10, 0.5)
    for index in range(len(clean)):
        top = TITLE + (index // columns) * cell_h
        left = MARGIN + (index % columns) * cell_w
        for i, (title, batch) in enumerate(pictures.items()):
            x = left + i * (side + MARGIN)
            canvas[top : top + side, x : x + side] = _picture(batch[index])
            _text(canvas, captions[title][index] if title in captions else "", x, top + side + CAPTION - 5, 0.42)
    return canvas if samples is None else np.concatenate((canvas, _strip(samples, width)))


def _strip(samples: Tensor, width: int) -> NDArray[np.uint8]:
    """Pictures in rows under a title, uint8 H x `width` x 3."""
    side = samples.shape[-1] * SCALE
    across = max(1, (width - MARGIN) // (side + MARGIN))
    rows = -(-len(samples) // across)
    canvas = np.full((TITLE + rows * (side + MARGIN), width, 3), PAPER, np.uint8)
    _text(canvas, "random samples", MARGIN, TITLE - 10, 0.5)
    for index, sample in enumerate(samples):
        y, x = TITLE + index // across * (side + MARGIN), MARGIN + index % across * (side + MARGIN)
        canvas[y : y + side, x : x + side] = _picture(sample)
    return canvas


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG (uint8 H x W x 3, BGR, or H x W x 1, gray) whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as e:
        raise CheckpointError(f"{path} cannot be written: {e.strerror or e}") from e


def to_bgr(patch: Tensor) -> NDArray[np.uint8]:
    """Float C x H x W in 0..1, RGB or gray -> uint8 H x W x 3, BGR, clipped and rounded."""
    rgb = patch.detach().float().cpu().clamp(0, 1).mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(rgb[..., ::-1])


def _picture(patch: Tensor) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(to_bgr(patch), SCALE, axis=0), SCALE, axis=1)


def _text(canvas: NDArray[np.uint8], text: str, x: int, y: int, size: float) -> None:
    if text:
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
