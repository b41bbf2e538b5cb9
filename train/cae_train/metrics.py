"""PSNR, by which runs are compared."""

import torch
from torch import Tensor

ROUNDING_MSE = 1 / (12 * 255**2)  # the error that rounding to 8 bits leaves; it bounds a PSNR at 58.9 dB


def psnr(output: Tensor, clean: Tensor) -> Tensor:
    """PSNR in dB of each patch, after clipping the output to 0..1: N x C x H x W each -> N.

    The squared error is taken as no smaller than what rounding to 8 bits leaves, so no patch counts as infinite.
    """
    mse = (output.clamp(0, 1) - clean).square().flatten(1).mean(1)
    return -10 * torch.log10(mse.clamp_min(ROUNDING_MSE))
