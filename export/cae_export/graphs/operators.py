"""Modules that become one ONNX operator where torch's exporter would write several that small engines do not have."""

import copy

import torch
from torch import Tensor, nn

from cae_train.models.skip_blocks import SubPixels

_NEW_IN = 13  # operator set that last changed DepthToSpace


class _DepthToSpace(nn.Module):
    """ONNX's DepthToSpace, N x C K^2 x H x W -> N x C x K H x K W; can be exported, but not run.

    Args:
        side: K.
        mode: order of the channels: "DCR" for (row, column, C), "CRD" for (C, row, column).
    """

    def __init__(self, side: int, mode: str) -> None:
        super().__init__()
        self.side, self.mode = side, mode

    def forward(self, x: Tensor) -> Tensor:
        """N x C K^2 x H x W -> N x C x K H x K W."""
        count, channels, height, width = x.shape
        side = self.side
        return torch.onnx.ops.symbolic(
            "DepthToSpace",
            [x],
            {"blocksize": side, "mode": self.mode},
            dtype=x.dtype,
            shape=(count, channels // side**2, side * height, side * width),
            version=_NEW_IN,
        )


def with_onnx_operators(network: nn.Module) -> nn.Module:
    """A copy of a network for the exporter: each shuffle of sub-pixels is one DepthToSpace, not five operators."""
    changed = copy.deepcopy(network)
    for name, module in list(changed.named_modules()):
        if isinstance(module, SubPixels):
            changed.set_submodule(name, _DepthToSpace(2, "DCR"))
        elif isinstance(module, nn.PixelShuffle):
            changed.set_submodule(name, _DepthToSpace(module.upscale_factor, "CRD"))
    return changed
