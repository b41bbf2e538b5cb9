"""Runs training: from settings to a run folder with the best model."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from cae_shared.limits import has_run_out
from cae_train.checkpoint import load_model, save_model
from cae_train.config import Hardware, TrainConfig
from cae_train.data.images import Split, load
from cae_train.data.pairs import fixed_pairs
from cae_train.errors import CheckpointError, ConfigError, TrainingError
from cae_train.metrics import psnr
from cae_train.models import build
from cae_train.paths import checked_path
from cae_train.training.earlier_runs import once
from cae_train.training.material import Material
from cae_train.training.module import VALIDATION_BATCH, Training
from cae_train.training.optimization.early_stopping import Patience
from cae_train.training.optimization.ema import Ema
from cae_train.training.prepare import Prepared, prepare
from cae_train.training.processes import end_helpers, of_first, together
from cae_train.training.run_files import MODEL
from cae_train.training.run_folder import RunFolder
from cae_train.training.trainer import equip, one_line, quiet_lightning

KINDS = {1: "gray", 3: "color"}  # by the number of channels


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
    material: Material | None = None,
) -> TrainResult:
    """Train a network and write a run folder.

    Ctrl-C does not raise: the result says `interrupted`, and `model.pt` holds the best epoch, or the current
    weights if no epoch has ended.

    Args:
        config: the settings.
        out: the run folder, made if it does not exist.
        hardware: the devices of the run; None takes `Hardware()`.
        resume: continue the run in `out` after its last finished epoch.
        callbacks: additional Lightning callbacks.
        split: images to use instead of those that `config.data` names.
        material: pairs of patches to use instead of images.

    Raises:
        ConfigError, DataError, CheckpointError: settings, data or a checkpoint cannot be used; nothing is trained.
        TrainingError: the run diverged, ran out of memory or could not write its folder; the best epoch so far is kept.
    """
    out = checked_path("out", out, wanted="the path of a folder")
    prepared = prepare(config, hardware, resume=out if resume else None)
    material = material or Material.of(config, split or load(config), prepared.chain)
    return run(prepared, material, out, callbacks)


def run(prepared: Prepared, material: Material, out: Path, callbacks: Sequence[Callback] = ()) -> TrainResult:
    """Train a prepared run, and write the run folder `out`.

    A process that the first one has started does not repeat runs that are over, see `earlier_runs`.

    Raises:
        ConfigError, CheckpointError, TrainingError: see `train`.
    """
    return once(partial(_run, prepared, material, out, callbacks))


def _run(prepared: Prepared, material: Material, out: Path, callbacks: Sequence[Callback]) -> TrainResult:
    started, config, trainer = time.monotonic(), prepared.config, prepared.trainer
    if not config.epochs:
        raise ConfigError("epochs is 0: 1 or more are needed")
    training = Training(config, material, prepared.network, prepared.loss)
    if prepared.checkpoint is not None:
        _check_resumable(prepared.checkpoint, training)
    folder = RunFolder(out, config)
    everyone: list[Callback] = [folder, *callbacks]
    if config.ema:
        everyone.append(Ema(config.ema))
    if config.patience:
        everyone.append(Patience(config.patience))
    training.place(trainer, prepared.hardware)
    with quiet_lightning(), together(trainer):
        equip(trainer, everyone, out)
        interrupted = _fit(trainer, training, folder, prepared.checkpoint)
        if interrupted:
            end_helpers()
            metrics = _figures_of_model(prepared, folder.out / MODEL) if trainer.is_global_zero else {}
        else:
            metrics = of_first(trainer, lambda: _figures_of_model(prepared, folder.out / MODEL, material))
    return TrainResult(
        folder.out / MODEL,
        metrics.get("psnr_in"),
        metrics.get("psnr_out"),
        metrics.get("evaluated_on", ""),
        trainer.current_epoch,
        time.monotonic() - started,
        interrupted,
    )


def _figures_of_model(prepared: Prepared, model: Path, material: Material | None = None) -> dict[str, Any]:
    """The figures in a `model.pt`; with material that has a test part, measured on it and written into the file."""
    loaded = load_model(model)
    metrics = dict(loaded.metrics)
    if material and material.test and metrics:
        degraded, clean = fixed_pairs(material.test, prepared.chain, prepared.config.seed)
        metrics |= {"psnr_in": float(psnr(degraded, clean).mean()), "evaluated_on": f"{material.test_of} test"}
        metrics["psnr_out"] = evaluate(loaded.network, degraded, clean)
        save_model(model, loaded.network, prepared.config, metrics)
    return metrics


def evaluate(network: nn.Module, degraded: Tensor, clean: Tensor) -> float:
    """Mean PSNR in dB over N pairs, float32 N x C x P x P in 0..1 each."""
    with torch.inference_mode():
        restored = torch.cat([network(batch) for batch in torch.split(degraded, VALIDATION_BATCH)])
    return float(psnr(restored, clean).mean())


def _fit(trainer: Trainer, training: Training, folder: RunFolder, checkpoint: Path | None) -> bool:
    """Run the loop; return whether Ctrl-C ended it, or in a command SIGTERM.

    Raises:
        ConfigError, TrainingError: see `run`.
        SystemExit: SIGTERM, in a program that leaves it to Lightning, or a callback that ends the process.
    """
    main = threading.current_thread() is threading.main_thread()  # only the main thread may set signals
    before = signal.getsignal(signal.SIGINT)
    # The momentum of frozen weights decays to denormal numbers (below 1e-38), which slow x86 CPUs down 40 times.
    torch.set_flush_denormal(True)
    try:
        trainer.fit(training, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException as e:
        raise SystemExit(128 + signal.SIGTERM) from e
    except SystemExit as e:
        if not isinstance(e.__context__, KeyboardInterrupt):  # Lightning's answer to it
            raise
        return True
    except KeyboardInterrupt:  # one that came while Lightning handled a lost process
        folder.keep(trainer, training)
        return True
    except MisconfigurationException as e:
        raise ConfigError(f"accelerator, devices or strategy: {one_line(e)}") from e
    except (TrainingError, CheckpointError, OSError, torch.OutOfMemoryError) as e:
        hint = ""
        if isinstance(e, torch.OutOfMemoryError):
            hint = "; a smaller batch needs less"
        elif isinstance(e, TrainingError):
            hint = "; a smaller learning rate, or a lower limit of the gradient, may help"
        kept = f"; {folder.out / MODEL} holds the best epoch before" if folder.saved else ""
        text = one_line(e)
        if isinstance(e, OSError) and has_run_out(e):
            text = f"{folder.out}: {e.strerror}"  # its own text names no file
        raise TrainingError(f"{text}{hint}{kept}") from e
    finally:
        torch.set_flush_denormal(False)
        if main:
            signal.signal(signal.SIGINT, before)
    return False


def _check_resumable(checkpoint: Path, training: Training) -> None:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if other := _other_channels(content["state_dict"], training):
            raise CheckpointError(
                f"{checkpoint} is of a network for {KINDS[other]} images, and these data are "
                f"{KINDS[training.net.channels]}: name the data that it was trained on"
            )
        training.load_state_dict(content["state_dict"])
        saved = set(content["optimizer_states"][0]["param_groups"][0])
    except CheckpointError:
        raise
    except Exception as e:  # a damaged file can fail anywhere in torch's reader
        raise CheckpointError(f"{checkpoint} is damaged or is of another network") from e
    if not saved.issuperset(training.optimizer().param_groups[0]):
        raise CheckpointError(
            f"{checkpoint} was written with another optimizer than {training.config.optimizer!r}, which "
            "its config.toml names: set that back, or begin a new run from its weights"
        )


def _other_channels(state: dict[str, Tensor], training: Training) -> int | None:
    """Return how many channels the network has that weights are of, if that is all that differs; otherwise None."""
    config = training.config
    for channels in set(KINDS) - {training.net.channels}:
        with torch.device("meta"):
            shapes = {
                f"net.{name}": value.shape
                for name, value in build(config.arch, config.model, channels).state_dict().items()
            }
        if all(name in state and state[name].shape == shape for name, shape in shapes.items()):
            return channels
    return None
