"""The arrays that pictures are, by the names that annotations use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8] | NDArray[np.uint16]  # (H, W) or (H, W, C), over the whole range of the type
FrameArray = NDArray[np.uint8]  # one frame of a video or a camera: (H, W, 3), BGR
