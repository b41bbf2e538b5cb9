"""The losses by the names that `--loss` takes."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.config import AUTO
from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder, Loss

OVERLAP = 8  # of `blended` and `psnr`: pixels that patches share
LEAST_WEIGHT = 0.15  # of `blended` and `psnr`: weight added to every pixel, also the outermost
ERROR_FLOOR = 1 / 255**2  # added to the error that `psnr` takes the logarithm of, or clean patches would rule
NOISE_FLOOR = 2 / 255  # added to the noise that `relative` divides by: about that of rounding and a picture's grain
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
    """Mean over patches of squared error / sqrt(s), s being the root mean square of degraded - clean in a patch.

    At one noise level this is proportional to the mean squared error. Between levels it weights faint noise more, which
    the mean squared error neglects when a network learns many levels. N x C x H x W each -> scalar.
    """
    change = (degraded - clean).square().flatten(1).mean(1).sqrt()
    return ((output - clean).square().flatten(1).mean(1) / (change + NOISE_FLOOR).sqrt()).mean()


def blended(output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """Like `relative`, with each pixel weighted as when patches are blended into a picture.

    The runtime blends overlapping patches with ramps that fall toward their edges. At the edge of a patch the network
    sees little context, so errors are largest there but hardly show in the picture. The ramps are those of an overlap
    of 8 pixels. The outermost pixels keep some weight, for other overlaps and for the edges of pictures. N x C x H x W
    each -> scalar.
    """
    change = (degraded - clean).square().flatten(1).mean(1).sqrt()
    return (blended_error(output, clean) / (change + NOISE_FLOOR).sqrt()).mean()


def psnr(output: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Mean over patches of log(squared error), pixels weighted as in `blended`: the mean PSNR, up to scale and sign.

    A patch with faint noise counts as much as one with strong noise. N x C x H x W each -> scalar. Source: the loss of
    NAFNet (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022), which has neither window nor floor.
    """
    return (blended_error(output, clean) + ERROR_FLOOR).log().mean()


def blended_error(output: Tensor, other: Tensor) -> Tensor:
    """Return each patch's mean squared error, weighted as patches are blended: N x C x H x W each -> N."""
    height, width = output.shape[2:]
    error = (output - other).square().mean(1) * blending_window(height, width, output.device)
    return error.flatten(1).mean(1)


def blending_window(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the weights of `blended` and `psnr`, float32 H x W, with mean 1."""
    lines = []
    for length in (height, width):
        place = torch.arange(length, dtype=torch.float32, device=device)
        from_edge = place.minimum(length - 1 - place)
        lines.append(((from_edge + 0.5) / OVERLAP).clamp_max(1))
    window = lines[0][:, None] * lines[1] + LEAST_WEIGHT
    return window / window.mean()


def loss_of(name: str, network: Autoencoder) -> Loss:
    """Return a loss by its name; `auto` is the network's own. (output, clean, degraded), N x C x H x W each -> scalar.

    Raises:
        ConfigError: the name is unknown, or it is `bce` and the network's output is not bounded to 0..1.
    """
    losses: dict[str, Loss] = {
        "mse": mse, "bce": bce, "charbonnier": charbonnier, "relative": relative, "blended": blended, "psnr": psnr,
        "ssim": ssim,
    }  # fmt: skip
    name = network.loss if name == AUTO else name
    if name not in losses:
        raise ConfigError(f"loss is {name!r}: choose from {', '.join((AUTO, *losses))}")
    if name == "bce" and not network.bounded:
        raise ConfigError(
            "loss bce needs a network whose output ends in a sigmoid, as all but skip do: choose another loss"
        )
    return losses[name]
