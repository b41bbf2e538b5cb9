"""A run: from settings to a run folder with its best model."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from cae_train.checkpoint import load_model, save_model
from cae_train.config import Hardware, TrainConfig
from cae_train.data.images import Split, load
from cae_train.data.pairs import fixed_pairs
from cae_train.degradations.registry import chain_of
from cae_train.errors import CheckpointError, ConfigError, TrainingError
from cae_train.metrics import psnr
from cae_train.models.base import Autoencoder
from cae_train.paths import checked_path
from cae_train.training.early_stopping import Patience
from cae_train.training.ema import Ema
from cae_train.training.material import Material
from cae_train.training.module import VALIDATION_BATCH, Training
from cae_train.training.run_files import CHECKPOINT, MODEL
from cae_train.training.run_folder import RunFolder
from cae_train.training.start_weights import initial_network
from cae_train.training.trainer import make_trainer, one_line, quiet_lightning, refuse_processes


@dataclass(frozen=True)
class TrainResult:
    """The path and the figures of a trained model; PSNR in dB on `evaluated_on`, None if no epoch was finished."""

    model: Path
    psnr_in: float | None
    psnr_out: float | None
    evaluated_on: str
    epochs: int
    seconds: float
    interrupted: bool


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
        raise ConfigError("epochs is 0: 1 or more are needed")
    started = time.monotonic()
    hardware, out = hardware or Hardware(), checked_path("out", out, "the path of a folder")
    checkpoint = out / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise CheckpointError(f"run folder {str(out)!r} has no {CHECKPOINT} to continue from")
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
        training.place(trainer, hardware)
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
    """Run the loop; return whether Ctrl-C ended it."""
    main = threading.current_thread() is threading.main_thread()  # the only one that may set signals
    before = signal.getsignal(signal.SIGINT)
    # Momentum of weights that rest decays to numbers of less than 1e-38, which x86 computes with 40 times as slowly.
    torch.set_flush_denormal(True)
    try:
        trainer.fit(training, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        return True
    except MisconfigurationException as e:
        raise ConfigError(f"accelerator, devices or strategy: {one_line(e)}") from e
    except (TrainingError, CheckpointError, OSError, torch.OutOfMemoryError) as e:
        hint = ""
        if isinstance(e, torch.OutOfMemoryError):
            hint = "; a smaller batch needs less"
        elif isinstance(e, TrainingError):
            hint = "; a smaller lr or grad_clip may hold it"
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
        raise CheckpointError(f"{checkpoint} is damaged or is of another network") from e
    if not saved.issuperset(training.optimizer().param_groups[0]):
        raise CheckpointError(
            f"{checkpoint} was written with another optimizer than {training.config.optimizer!r}, which "
            "its config.toml names: set that back, or begin a new run from its weights"
        )
