"""Distillation: a network learns from the results of a trained one, the teacher, beside the clean patches.

It is meant for quantization-aware training, with the same network in float as the teacher. Clean patches alone let a
network forget what is rare among them, such as very faint noise; its teacher still knows it.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015); for networks of few bits: Mishra and Marr,
"Apprentice" (ICLR 2018).
"""

from pathlib import Path

import torch
from torch import Tensor

from cae_train.checkpoint import load_model, reading_setting
from cae_train.config import PATCH, TrainConfig
from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder, Loss
from cae_train.training.optimization.losses import ERROR_FLOOR, blended_error, loss_of


def training_loss(config: TrainConfig, network: Autoencoder) -> Loss:
    """Return the loss of a run: that of its teacher if it has one, otherwise the one that `config.loss` names.

    Raises:
        ConfigError: the loss or the teacher does not fit the network.
        CheckpointError: the teacher cannot be read.
    """
    if not config.teacher:
        return loss_of(config.loss, network)
    with reading_setting("teacher"):
        teacher = load_model(Path(config.teacher)).network
    if teacher.channels != network.channels:
        raise ConfigError(
            f"teacher: {config.teacher} is a network for {teacher.channels} channels, here they are {network.channels}"
        )
    if PATCH % teacher.stride or teacher.side not in (None, PATCH):
        raise ConfigError(f"teacher: {config.teacher} does not take patches of {PATCH}x{PATCH} pixels")
    return Distillation(teacher)


class Distillation:
    """Mean over patches of (squared error + squared distance from the teacher) / (the teacher's own + a floor).

    Relative to the teacher, a patch with faint noise counts as much as one with strong noise, as in a mean PSNR. The
    floor, `ERROR_FLOOR`, is an error of one level of 255; without it, clean patches would rule. Pixels are weighted as
    in the loss `blended`.
    """

    def __init__(self, teacher: Autoencoder) -> None:
        """Take a network, which is not trained: float32 N x C x H x W in 0..1 in and out."""
        self._teacher = teacher.eval().requires_grad_(False)

    def __call__(self, output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        """N x C x H x W each -> scalar."""
        with torch.no_grad():
            goal = self._teacher.to(degraded.device)(degraded).float()
        error = blended_error(output, clean) + blended_error(output, goal)
        return (error / (blended_error(goal, clean) + ERROR_FLOOR)).mean()
