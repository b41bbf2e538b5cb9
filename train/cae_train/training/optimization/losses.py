"""The losses by the names that `--loss` takes."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.config import AUTO
from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder, Loss

RAMP, LEAST = 8, 0.15  # of `blended`: pixels that neighboring patches share, and the weight that the outermost keep
FAINT = 2 / 255  # added to the noise that `relative` divides by: what rounding and a picture's own grain come to
SSIM_WEIGHT = 0.1  # of 1 - SSIM beside Charbonnier


def mse(output: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Mean squared error; N x C x H x W each -> scalar."""
    return F.mse_loss(output, clean)


def bce(output: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Mean binary cross-entropy of outputs in 0..1; N x C x H x W each -> scalar."""
    return F.binary_cross_entropy(output, clean)


def charbonnier(output: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 1e-6), a smooth L1 (Charbonnier et al., ICIP 1994); N x C x H x W each -> scalar."""
    return torch.sqrt((output - clean).square() + 1e-6).mean()


def ssim(output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """Charbonnier and 1 - SSIM, mixed; N x C x H x W each -> scalar.

    Source: Zhao et al., "Loss Functions for Image Restoration with Neural Networks" (IEEE TCI 2017).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity = structural_similarity_index_measure(output, clean, data_range=1.0)
    assert isinstance(similarity, Tensor)  # noqa: S101 - what it is unless the image is asked for
    return charbonnier(output, clean, degraded) + SSIM_WEIGHT * (1 - similarity)


def relative(output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """Mean over the patches of squared error / sqrt(degradation), where that is the root mean square of its change.

    Among patches of one noise level it is the mean squared error that PSNR measures; between levels it weighs faint
    noise more than the mean squared error does, which a network that learns all of them would neglect. N x C x H x W
    each -> scalar.
    """
    change = (degraded - clean).square().flatten(1).mean(1).sqrt()
    return ((output - clean).square().flatten(1).mean(1) / (change + FAINT).sqrt()).mean()


def blended(output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """As `relative`, with each pixel weighed as much as it counts when patches are blended to a picture.

    Where patches overlap, the runtime weighs each with a ramp that falls to its edge. There a patch knows least of what
    lies around it, so its errors are largest, and a plain mean spends the network on pixels that hardly show. The
    ramps are those of an overlap of 8 pixels; the outermost pixels keep a little weight, for other overlaps and for
    the edges of pictures. N x C x H x W each -> scalar.
    """
    change = (degraded - clean).square().flatten(1).mean(1).sqrt()
    error = (output - clean).square().mean(1) * blending_window(*output.shape[2:]).to(output.device)
    return (error.flatten(1).mean(1) / (change + FAINT).sqrt()).mean()


@cache
def blending_window(height: int, width: int) -> Tensor:
    """The weights of `blended`, H x W, of mean 1."""
    lines = []
    for length in (height, width):
        from_edge = torch.arange(length, dtype=torch.float32).minimum(torch.arange(length - 1.0, -1, -1))
        lines.append(((from_edge + 0.5) / RAMP).clamp_max(1))
    window = lines[0][:, None] * lines[1] + LEAST
    return window / window.mean()


def loss_of(name: str, network: Autoencoder) -> Loss:
    """The loss of that name (`auto`: the network's own): (output, clean, degraded), N x C x H x W each -> scalar.

    Raises:
        ConfigError: an unknown name; `bce` for a network whose output is not bounded to 0..1.
    """
    losses: dict[str, Loss] = {
        "mse": mse, "bce": bce, "charbonnier": charbonnier, "relative": relative, "blended": blended, "ssim": ssim,
    }  # fmt: skip
    name = network.loss if name == AUTO else name
    if name not in losses:
        raise ConfigError(f"loss is {name!r}: choose from {', '.join((AUTO, *losses))}")
    if name == "bce" and not network.bounded:
        raise ConfigError(
            "loss bce needs a network whose output ends in a sigmoid, as all but skip do: choose another loss"
        )
    return losses[name]
