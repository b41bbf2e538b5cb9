"""Prepares a run: checks its settings and builds the network, the degradations and the trainer."""

import logging
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Trainer

from cae_train.config import Hardware, TrainConfig
from cae_train.degradations.chain import Chain
from cae_train.degradations.registry import chain_of
from cae_train.errors import CheckpointError
from cae_train.models import multiply_adds_per_pixel
from cae_train.models.base import Autoencoder, Loss
from cae_train.training.optimization.distillation import training_loss
from cae_train.training.run_files import CHECKPOINT
from cae_train.training.start_weights import begin, new_network
from cae_train.training.trainer import make_trainer, quiet_lightning, refuse_processes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """The objects that one run needs, built from its settings.

    Attributes:
        config: the settings.
        chain: the degradations.
        network: the network with its initial weights.
        loss: what training minimizes.
        multiply_adds: multiply-adds of the whole network per pixel.
        trainer: Lightning's trainer for this hardware.
        hardware: the devices of the run.
        checkpoint: file that a resumed run continues from, or None.
    """

    config: TrainConfig
    chain: Chain
    network: Autoencoder
    loss: Loss
    multiply_adds: float
    trainer: Trainer
    hardware: Hardware
    checkpoint: Path | None = None


def prepare(
    config: TrainConfig,
    hardware: Hardware | None = None,
    *,
    resume: Path | None = None,
    network: Autoencoder | None = None,
) -> Prepared:
    """Prepare a run, and find errors in its settings before any data is read, downloaded or written.

    Args:
        config: the settings. With 0 epochs, initial weights are not loaded.
        hardware: the devices of the run; None takes `Hardware()`.
        resume: folder of a run to continue, or None.
        network: a network with its initial weights; None builds it from the settings.

    Raises:
        ConfigError: the settings or the hardware, or both together, cannot be used.
        CheckpointError: the weights or the teacher cannot be read, or the folder has no checkpoint.
    """
    hardware = hardware or Hardware()
    checkpoint = None if resume is None else resume / CHECKPOINT
    if checkpoint is not None and not checkpoint.is_file():
        raise CheckpointError(f"run folder {str(resume)!r} has no {CHECKPOINT} to continue from")
    chain = chain_of(config)
    made = network if network is not None else new_network(config)
    loss = training_loss(config, made)
    cost = multiply_adds_per_pixel(made.eval())
    made.train()
    with quiet_lightning():
        trainer = make_trainer(config, hardware)
    begin(made, config, weights=network is None and checkpoint is None and config.epochs > 0)
    refuse_processes(trainer, made)
    _log.debug("%s on %s, %s", config.arch, trainer.strategy.root_device, trainer.precision)
    return Prepared(config, chain, made, loss, cost, trainer, hardware, checkpoint)
