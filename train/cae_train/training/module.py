"""The Lightning module: defines a training step and an epoch, the loss, the optimizer and the figures."""

import math
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from cae_train import seeds
from cae_train.config import Hardware, TrainConfig
from cae_train.data.pairs import EpochSampler
from cae_train.errors import TrainingError
from cae_train.metrics import psnr
from cae_train.models.base import Autoencoder, Loss
from cae_train.models.depthwise import depthwise_kernels
from cae_train.on_device.pairs import DevicePairs
from cae_train.training.compiled import StepFunction, compiled_step
from cae_train.training.material import Material
from cae_train.training.optimization import qat
from cae_train.training.optimization.muon import Muon
from cae_train.training.placement import placed, shared_out
from cae_train.training.trainer import default_workers

VALIDATION_BATCH = 256
CHECK_STEPS = 50  # a diverged run does not recover, so every 50th step is enough
DIVERGED_LOSS = 1e4  # values are in 0..1: losses are usually below 1, and PyTorch's binary cross-entropy is at most 100
BETAS = (0.9, 0.99)  # with the usual 0.999, residual networks diverge here


class Training(LightningModule):
    """The Lightning module: network, loss, optimizer and metrics."""

    def __init__(self, config: TrainConfig, material: Material, network: Autoencoder, loss: Loss) -> None:
        super().__init__()
        self.config = config
        self.net: Autoencoder = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.roundings = qat.prepare(self.net) if config.quantize_aware else []
        self.loss = loss
        self.step: StepFunction = self.net.step
        self.material, self.pairs, self.held_out = material, material.pairs, material.held_out
        self.psnr_in = float(psnr(*self.held_out).mean())
        self.figures = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name in ("train_loss", "train_psnr", "loss", "psnr")}
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """Copy only the network: the moving average needs nothing else."""
        from copy import deepcopy

        shadow = nn.Module()
        shadow.net = deepcopy(self.net, memo)
        return shadow

    def figure(self, name: str) -> MeanMetric:
        """One of the epoch's means."""
        return cast(MeanMetric, self.figures[name])

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """One step on (degraded, clean), float32 N x C x 32 x 32 each."""
        degraded, clean = batch
        key = (self.config.seed, seeds.LATENT, self.current_epoch, index, self.global_rank)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        self.net.begin_step(self.global_step / steps, seeds.torch_rng(*key))
        step = self.step(degraded, clean, self.loss)
        if index % CHECK_STEPS == 0:
            self._check(float(step.loss.detach()))
        self.figure("train_loss").update(step.loss.detach())
        self.figure("train_psnr").update(psnr(step.output.detach(), clean))
        return step.loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Loss and PSNR of the averaged weights on held-out pairs."""
        degraded, clean = batch
        step = self.net.step(degraded, clean, self.loss)
        self.figure("loss").update(step.loss, weight=len(clean))
        self.figure("psnr").update(psnr(step.output, clean))
        for name, value in step.figures.items():
            if name not in self.figures:
                self.figures[name] = MeanMetric(nan_strategy="disable").to(self.device)
            self.figure(name).update(value, weight=len(clean))

    def on_validation_epoch_end(self) -> None:
        """Log the PSNR, on which early stopping decides."""
        self.log("val_psnr", self.figure("psnr").compute(), sync_dist=True)

    def take_figures(self) -> dict[str, float]:
        """The epoch's means.

        Raises:
            TrainingError: the run has diverged.
        """
        values = {name: float(self.figure(name).compute()) for name in self.figures}
        self._check(values["train_loss"])
        self._check(values["loss"])
        return values

    def _check(self, loss: float) -> None:
        if not loss < DIVERGED_LOSS:  # nan is not below it either
            raise TrainingError(f"training diverged in epoch {self.current_epoch + 1}: the loss is {loss:.3g}")

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's means, and prepare the network."""
        self.net.begin_epoch(self.current_epoch, self.config.epochs)
        for name in self.figures:
            self.figure(name).reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the measured activation ranges of quantization-aware training, which are not weights."""
        checkpoint["ranges"] = [rounding.state() for rounding in self.roundings]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the ranges; those that an old checkpoint lacks are measured again."""
        for rounding, state in zip(self.roundings, checkpoint.get("ranges", []), strict=False):
            rounding.load_state(state)

    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimizer according to `config.optimizer`."""
        config, parameters = self.config, self.net.parameters()
        if config.optimizer == "muon":
            by_adam = depthwise_kernels(self.net)
            return Muon(parameters, config.lr, betas=BETAS, weight_decay=config.weight_decay, elementwise=by_adam)
        return torch.optim.AdamW(parameters, config.lr, betas=BETAS, weight_decay=config.weight_decay, foreach=True)

    def configure_optimizers(self) -> Any:
        """A linear warm-up, then a cosine to zero over all steps (Loshchilov and Hutter, ICLR 2017)."""
        optimizer = self.optimizer()
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = max(1, round(self.config.warmup * total))
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, max(1, warmup - 1))
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, total - warmup))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches, each a function of (seed, epoch, step) and of the process that trains on it."""
        sampler = EpochSampler(self.pairs.steps)
        return DataLoader(cast(Any, self.pairs), batch_size=None, sampler=sampler, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the held-out pairs, the same at every epoch; `figures` sums over all processes.

        All processes have the same number of batches: buffers are compared at each.
        """
        own, world, batch = self.held_out, self.trainer.world_size, VALIDATION_BATCH
        if 1 < world <= len(own[0]):
            batches = math.ceil(math.ceil(len(own[0]) / world) / batch)
            degraded, clean = (part[self.trainer.global_rank :: world] for part in own)
            own, batch = (degraded, clean), math.ceil(len(clean) / batches)
        return DataLoader(TensorDataset(*own), batch_size=batch)

    workers: int = 0

    def place(self, trainer: Trainer, hardware: Hardware) -> None:
        """Choose where patches are made and by how many processes, and compile the steps if that is wanted.

        Raises:
            ConfigError, TrainingError: as `shared_out`, `placed` and `compiled_step`.
        """
        own = shared_out(self.pairs, self.config.batch, trainer.global_rank, trainer.world_size)
        self.pairs = placed(own, hardware, trainer.strategy.root_device)
        if isinstance(self.pairs, DevicePairs):
            self.workers = 0
        else:
            self.workers = hardware.workers if hardware.workers >= 0 else default_workers(trainer)
        if hardware.compile:
            self.step = compiled_step(self.net, self.config.quantize_aware)
