"""What `Restorer` computes, written to be read: one patch after the other, in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

PATCH = 32


def restore(model: Path, image: NDArray[Any], overlap: int) -> NDArray[np.float64]:
    """Clean (H, W, 3) BGR, uint8 or uint16, H and W at least 32; the result is not rounded.

    A model of one channel cleans what OpenCV takes for the luminance, and each color changes by as much.
    """
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    channels_last, channels = metadata["layout"] == "nhwc", int(metadata["channels"])
    height, width = image.shape[:2]
    white = np.iinfo(image.dtype).max
    values = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if channels == 1 else image[..., ::-1]
    levels = values.astype(np.float32) / np.float32(white)
    total, weight = np.zeros(levels.shape), np.zeros((height, width, 1))
    for y in starts(height, overlap):
        for x in starts(width, overlap):
            patch = levels[None, y : y + PATCH, x : x + PATCH]
            if not channels_last:
                patch = patch.transpose(0, 3, 1, 2)
            (cleaned,) = session.run(None, {"input": np.ascontiguousarray(patch)})
            if not channels_last:
                cleaned = cleaned.transpose(0, 2, 3, 1)
            window = np.outer(ramps(overlap), ramps(overlap))[..., None]
            total[y : y + PATCH, x : x + PATCH] += window * cleaned[0]
            weight[y : y + PATCH, x : x + PATCH] += window
    cleaned = total / weight * white
    if channels == 1:
        return (image + (cleaned - values)).clip(0, white)
    return cleaned[..., ::-1].clip(0, white)


def starts(length: int, overlap: int) -> list[int]:
    """Where patches begin: a stride apart, the last one at the end."""
    found = list(range(0, length - PATCH, PATCH - overlap))
    return [*found, length - PATCH]


def ramps(overlap: int) -> NDArray[np.float64]:
    """A line up, ones, and down again."""
    profile = np.ones(PATCH)
    for i in range(overlap):
        weight = (i + 0.5) / overlap
        profile[i] *= weight
        profile[PATCH - 1 - i] *= weight
    return profile
