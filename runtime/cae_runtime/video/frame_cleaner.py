"""One frame of a video or a camera cleaned: averaged over time, through the network, blended with the frame itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np

from cae_runtime.io.arrays import FrameArray, Image
from cae_runtime.video.temporal_filter import TemporalFilter


class FrameCleaner:
    """Cleans the frames of one video in turn.

    It is called with what cleans a frame, a `Restorer` or a function, which may be another each time.

    Args:
        temporal: whether what stands still is averaged over time before the network.
    """

    def __init__(self, temporal: bool) -> None:
        self._average = TemporalFilter() if temporal else None

    def __call__(self, restorer: Callable[[FrameArray], Image], frame: FrameArray) -> FrameArray:
        """Return the next frame, fully cleaned: uint8 (H, W, 3), BGR, as it came.

        Raises:
            ImageError, ModelError, ProviderError: as `Restorer` raises them.
        """
        return np.asarray(restorer(self._average(frame) if self._average else frame), np.uint8)


def frame_cleaner(
    restorer: Callable[[FrameArray], Image], strength: float, temporal: bool
) -> Callable[[FrameArray], FrameArray]:
    """Return what is done to each frame of one video; it is called with them in turn, and keeps what it has seen."""
    cleaner = FrameCleaner(temporal)

    def clean(frame: FrameArray) -> FrameArray:
        return blended(frame, cleaner(restorer, frame), strength) if strength else frame

    return clean


def blended(frame: FrameArray, cleaned: FrameArray, strength: float) -> FrameArray:
    """Return frame + strength * (cleaned - frame), rounded; 1 and 0 are the arrays themselves."""
    if strength in (0, 1):
        return cleaned if strength else frame
    return cast(FrameArray, cv2.addWeighted(cleaned, strength, frame, 1 - strength, 0))
