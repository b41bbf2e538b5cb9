"""Cleans one frame of a video or camera: temporal filter, network, and blending with the original frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.arrays import ImageT
from cae_runtime.tasks.strength_blending import blended
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.video.temporal_filter import TemporalFilter


class FrameCleaner:
    """Cleans the frames of one video one after the other.

    Each call gets a `Restorer` or a function that cleans a frame; it may be a different one each time.

    Args:
        temporal: whether static regions are averaged over time before the network.
    """

    def __init__(self, temporal: bool) -> None:
        self._average = TemporalFilter() if temporal else None

    def __call__(self, restorer: Callable[[ImageT], NDArray[Any]], frame: ImageT) -> ImageT:
        """Clean the next frame at full strength, uint8 or uint16, (H, W, 3), BGR; the result is of the same kind.

        Raises:
            ImageError, ModelError, ProviderError: see `Restorer`.
        """
        return cast(ImageT, np.asarray(restorer(self._average(frame) if self._average else frame), frame.dtype))


def frame_cleaner(
    restorer: Callable[[ImageT], NDArray[Any]], strengths: Strengths, temporal: bool
) -> Callable[[ImageT], ImageT]:
    """Return a function that cleans the frames of one video one after the other; it keeps state between frames."""
    cleaner = FrameCleaner(temporal)

    def clean(frame: ImageT) -> ImageT:
        return frame if strengths == (0, 0) else blended(frame, cleaner(restorer, frame), strengths)

    return clean
