"""Creates Lightning's Trainer for the requested hardware, and silences Lightning."""

import contextlib
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cae_train.checkpoint import write_whole
from cae_train.config import Hardware, TrainConfig
from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder
from cae_train.training.processes import check_places, sized
from cae_train.training.run_files import CHECKPOINT


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advertisements and warnings that do not apply here, for the duration of a block."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*The dirpath has changed.*")  # the folder of a resumed run was moved
        warnings.filterwarnings("ignore", ".*The number of training batches.*")
        warnings.filterwarnings("ignore", ".*Grad strides do not match.*")  # of 1x1 convolutions, in several processes
        warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # layers that a stage freezes
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def one_line(error: BaseException) -> str:
    """An error message as one line of limited length."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one before, which it replaces when it is complete.

    Lightning writes into the system's temporary folder, from where the file is copied over the one before if that lies
    on another disk: where this one is full, half a file is left.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: the file cannot be written.
        """
        write_whole(Path(path), checkpoint)


def make_trainer(config: TrainConfig, hardware: Hardware) -> Trainer:
    """Lightning's Trainer for a run; `equip` gives it its callbacks.

    Raises:
        ConfigError: an accelerator, devices or a strategy that Lightning refuses, more devices than processors,
            several machines that cannot find each other, other counts than torchrun's.
    """
    hardware = sized(hardware)
    devices = hardware.devices
    try:
        trainer = Trainer(
            accelerator=hardware.accelerator,
            devices=int(devices) if devices.lstrip("-").isdigit() else devices,
            strategy=hardware.strategy,
            num_nodes=hardware.num_nodes,
            precision=_precision(config, hardware),
            max_epochs=config.epochs,
            gradient_clip_val=config.grad_clip,
            logger=False,
            enable_checkpointing=False,  # `equip` adds what writes them
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[WholeCheckpoints()],
        )
    except Exception as e:  # Lightning raises many kinds for bad devices and strategies
        raise ConfigError(
            f"accelerator {hardware.accelerator}, devices {devices}, strategy {hardware.strategy}: {one_line(e)}"
        ) from e
    processors = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > max(2, processors):
        raise ConfigError(
            f"accelerator {hardware.accelerator}, devices {devices}, strategy {hardware.strategy}: that would be "
            f"{trainer.num_devices} processes, this machine has {processors} processors"
        )
    check_places(trainer)
    return trainer


def equip(trainer: Trainer, callbacks: list[Callback], out: Path) -> None:
    """Give a Trainer the callbacks of a run, and one that writes its checkpoints into `out`."""
    checkpoints = ModelCheckpoint(
        dirpath=out, filename=CHECKPOINT.removesuffix(".ckpt"), enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    trainer.callbacks.extend([*callbacks, checkpoints])  # type: ignore[attr-defined]


def refuse_processes(trainer: Trainer, network: Autoencoder) -> None:
    """Refuse several processes for a network whose trained part changes: they would not be synchronized.

    Raises:
        ConfigError: there are several.
    """
    if network.freezes and trainer.world_size > 1:
        raise ConfigError(
            f"devices and strategy make {trainer.world_size} processes: a network that freezes a part of itself "
            "for some epochs is trained in one: set devices to 1"
        )


def _precision(config: TrainConfig, hardware: Hardware) -> Any:
    if config.precision == "fp32" or (config.precision == "auto" and config.quantize_aware):
        return "32-true"
    gpu = torch.cuda.is_available() and hardware.accelerator in ("auto", "gpu", "cuda")
    native = torch.cuda.is_bf16_supported() if gpu else bool(torch.cpu._is_avx512_bf16_supported())
    return "bf16-mixed" if native or config.precision == "bf16" else "32-true"


def default_workers(trainer: Trainer) -> int:
    """Processes that prepare batches: none on a CPU, which they would only share."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    return 0 if on_cpu or sys.platform == "win32" else min(8, os.cpu_count() or 1)
