"""Runs a file for whole frames in onnxruntime, which other programs use, too: the proof of such files."""

import numpy as np
import onnxruntime
import torch
from torch import Tensor


class FrameSession:
    """A file that is open on the CPU.

    Args:
        content: of the file.
    """

    def __init__(self, content: bytes) -> None:
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._given = self._session.get_inputs()[0].name

    def run(self, frames: Tensor, batch: int) -> Tensor:
        """Run on float32 N x C x H x W, `batch` at a time; N is a multiple of it."""
        parts = [
            self._session.run(None, {self._given: np.ascontiguousarray(part.numpy())})[0]
            for part in torch.split(frames, batch)
        ]
        return torch.from_numpy(np.concatenate(parts))
