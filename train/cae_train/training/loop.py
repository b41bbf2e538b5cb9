"""The training loop: what a step, an epoch and a run are. Lightning runs it."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from cae_train import seeds
from cae_train.checkpoint import load_model, save_model
from cae_train.config import Hardware, TrainConfig
from cae_train.data.images import Split, load
from cae_train.data.pairs import EpochSampler, Pairs, fixed_pairs
from cae_train.degradations.registry import chain_of
from cae_train.errors import CheckpointError, ConfigError, TrainingError
from cae_train.files import checked_path
from cae_train.models.base import Autoencoder
from cae_train.models.depthwise import depthwise_kernels
from cae_train.training import qat
from cae_train.training.early_stopping import Patience
from cae_train.training.ema import Ema
from cae_train.training.losses import loss_of, psnr
from cae_train.training.muon import Muon
from cae_train.training.run_folder import CHECKPOINT, MODEL, RunFolder
from cae_train.training.start_weights import initial_network
from cae_train.training.trainer import default_workers, make_trainer, one_line, quiet_lightning, refuse_processes

VALIDATION_BATCH = 256
CHECK_STEPS = 50  # a run that has diverged does not come back: looking now and then is enough
DIVERGED_LOSS = 1e4  # patches are in 0..1: what works has a loss below 1, and binary cross-entropy ends at 100
BETAS = (0.9, 0.99)  # a second moment that forgets sooner than the usual 0.999: without it residual nets diverge here


@dataclass(frozen=True)
class TrainResult:
    """Where the model lies and what it reaches; PSNR in dB on `evaluated_on`, None if no epoch was finished."""

    model: Path
    psnr_in: float | None
    psnr_out: float | None
    evaluated_on: str
    epochs: int
    seconds: float
    interrupted: bool


class PairSource(Protocol):
    """Batches by (epoch, step): degraded and clean, float32 N x C x 32 x 32 in 0..1 each; `steps` make an epoch."""

    steps: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch, the same at every call."""
        ...


@dataclass(frozen=True)
class Material:
    """What a run learns from, the pairs that it is judged by, and what these are: of a split by default."""

    pairs: PairSource
    held_out: tuple[Tensor, Tensor]
    evaluated_on: str

    @classmethod
    def of(cls, config: TrainConfig, split: Split) -> "Material":
        """Patches of the images, degraded as the settings say."""
        chain = chain_of(config)
        names = "+".join(Path(name).name or name for name in config.data)
        held_out = fixed_pairs(split.validation, chain, config.seed)
        return cls(Pairs(split.train, chain, config), held_out, f"held-out patches of {names}")


class Training(LightningModule):
    """The network with its loss, optimiser and figures."""

    def __init__(self, config: TrainConfig, material: Material, network: Autoencoder) -> None:
        super().__init__()
        self.config = config
        self.net: Autoencoder = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.roundings = qat.prepare(self.net) if config.quantize_aware else []
        self.loss = loss_of(config.loss, self.net)
        self.chain = chain_of(config)
        self.pairs, self.held_out, self.evaluated_on = material.pairs, material.held_out, material.evaluated_on
        self.psnr_in = float(psnr(*self.held_out).mean())
        self.figures = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name in ("train_loss", "train_psnr", "loss", "psnr")}
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """The moving average copies the module; the network is all that it averages."""
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
        step = self.net.step(degraded, clean, self.loss)
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
        """Give early stopping its figure."""
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
        """Start the epoch's means anew, and let the network get ready."""
        self.net.begin_epoch(self.current_epoch, self.config.epochs)
        for name in self.figures:
            self.figure(name).reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the measured ranges: they are no weights, but decide what a rounding network computes."""
        checkpoint["ranges"] = [rounding.state() for rounding in self.roundings]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the ranges again; a checkpoint from before they were kept has them measured anew."""
        for rounding, state in zip(self.roundings, checkpoint.get("ranges", []), strict=False):
            rounding.load_state(state)

    def optimizer(self) -> torch.optim.Optimizer:
        """A new one, as `config.optimizer` says."""
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
        """Ready batches, each a function of (seed, epoch, step), shared out between processes."""
        sampler = EpochSampler(self.pairs.steps, self.trainer.global_rank, self.trainer.world_size)
        return DataLoader(cast(Any, self.pairs), batch_size=None, sampler=sampler, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """The held-out pairs, the same at every epoch and in every process."""
        return DataLoader(TensorDataset(*self.held_out), batch_size=VALIDATION_BATCH)

    workers: int = 0


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    hardware: Hardware | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    split: Split | None = None,
    network: Autoencoder | None = None,
    material: Material | None = None,
) -> TrainResult:
    """Train a network and leave a run folder in `out` (made if it is not there).

    `material` stands in for pairs of the images that `config.data` names. `split` and `network` spare reading again
    what `data.images.load` and `start_weights.initial_network` have read already.
    With `resume`, `out` is a run folder that continues after its last finished epoch. Ctrl-C does not raise: the
    result says `interrupted`, and `model.pt` holds the best epoch, or the weights of the moment before the first.

    Raises:
        ConfigError, DataError, CheckpointError: as their names say; nothing is trained then.
        TrainingError: the run diverged, ran out of memory or could not write its folder; the best epoch before is kept.
    """
    if not config.epochs:
        raise ConfigError("--epochs is 0: 1 or more are needed")
    started = time.monotonic()
    hardware, out = hardware or Hardware(), checked_path("out", out, "the path of a folder")
    checkpoint = out / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise CheckpointError(f"--resume {out}: it has no {CHECKPOINT} to continue from")
    split = split or (Split() if material else load(config))
    training = Training(config, material or Material.of(config, split), network or initial_network(config, resume))
    folder = RunFolder(out, config)
    everyone: list[Callback] = [folder, *callbacks]
    if config.ema:
        everyone.append(Ema(config.ema))
    if config.patience:
        everyone.append(Patience(config.patience))
    if resume:
        _check_resumable(checkpoint, training)
    with quiet_lightning():
        trainer = make_trainer(config, out, hardware, everyone)
        refuse_processes(trainer, training.net)
        training.workers = hardware.workers if hardware.workers >= 0 else default_workers(trainer)
        interrupted = _fit(trainer, training, folder, checkpoint if resume else None)
    model = folder.out / MODEL
    loaded = load_model(model)
    metrics = dict(loaded.metrics)
    if split.test and metrics and not interrupted and trainer.is_global_zero:
        degraded, clean = fixed_pairs(split.test, chain_of(config), config.seed)
        metrics |= {"psnr_in": float(psnr(degraded, clean).mean()), "evaluated_on": f"{split.test_of} test"}
        metrics["psnr_out"] = evaluate(loaded.network, degraded, clean)
        save_model(model, loaded.network, config, metrics)
    return TrainResult(
        model,
        metrics.get("psnr_in"),
        metrics.get("psnr_out"),
        metrics.get("evaluated_on", ""),
        trainer.current_epoch,
        time.monotonic() - started,
        interrupted,
    )


def evaluate(network: nn.Module, degraded: Tensor, clean: Tensor) -> float:
    """Mean PSNR in dB over N pairs, float32 N x C x P x P in 0..1 each."""
    with torch.inference_mode():
        restored = torch.cat([network(batch) for batch in torch.split(degraded, VALIDATION_BATCH)])
    return float(psnr(restored, clean).mean())


def _fit(trainer: Trainer, training: Training, folder: RunFolder, checkpoint: Path | None) -> bool:
    """Run the loop, and say whether Ctrl-C ended it."""
    main = threading.current_thread() is threading.main_thread()  # the only one that may set signals
    before = signal.getsignal(signal.SIGINT)
    # Momentum of weights that rest decays to numbers of less than 1e-38, which x86 computes with 40 times as slowly.
    torch.set_flush_denormal(True)
    try:
        trainer.fit(training, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        return True
    except MisconfigurationException as e:
        raise ConfigError(f"--accelerator, --devices or --strategy: {one_line(e)}") from e
    except (TrainingError, CheckpointError, OSError, torch.OutOfMemoryError) as e:
        hint = ""
        if isinstance(e, torch.OutOfMemoryError):
            hint = "; a smaller --batch needs less"
        elif isinstance(e, TrainingError):
            hint = "; a smaller --lr or --grad-clip may hold it"
        kept = f"; {folder.out / MODEL} holds the best epoch before" if folder.saved else ""
        raise TrainingError(f"{one_line(e)}{hint}{kept}") from e
    finally:
        torch.set_flush_denormal(False)
        if main:
            signal.signal(signal.SIGINT, before)
    return False


def _check_resumable(checkpoint: Path, training: Training) -> None:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        training.load_state_dict(content["state_dict"])
        saved = set(content["optimizer_states"][0]["param_groups"][0])
    except Exception as e:  # a damaged file can fail anywhere in torch's reader
        raise CheckpointError(f"--resume: {checkpoint} is damaged or is of another network") from e
    if not saved.issuperset(training.optimizer().param_groups[0]):
        raise CheckpointError(
            f"--resume: {checkpoint} was written with another optimizer than {training.config.optimizer!r}, which "
            "its config.toml names: set that back, or begin anew with --start"
        )
