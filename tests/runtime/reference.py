"""What `Restorer` computes, written to be read: one patch after the other, in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

PATCH = 32


def restore(model: Path, image: NDArray[Any], overlap: int) -> NDArray[np.float64]:
    """Clean (H, W, 3) BGR, uint8 or uint16, H and W at least 32; the result is not rounded."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    channels_last = session.get_modelmeta().custom_metadata_map["layout"] == "nhwc"
    height, width = image.shape[:2]
    white = np.iinfo(image.dtype).max
    rgb = image[..., ::-1].astype(np.float32) / np.float32(white)
    total, weight = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for y in starts(height, overlap):
        for x in starts(width, overlap):
            patch = rgb[None, y : y + PATCH, x : x + PATCH]
            if not channels_last:
                patch = patch.transpose(0, 3, 1, 2)
            (cleaned,) = session.run(None, {"input": np.ascontiguousarray(patch)})
            if not channels_last:
                cleaned = cleaned.transpose(0, 2, 3, 1)
            window = np.outer(ramps(overlap), ramps(overlap))[..., None]
            total[y : y + PATCH, x : x + PATCH] += window * cleaned[0]
            weight[y : y + PATCH, x : x + PATCH] += window
    return (total / weight)[..., ::-1].clip(0, 1) * white


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
