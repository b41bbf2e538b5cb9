"""The initial network of a run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae_train.checkpoint import LoadedModel, load_model, load_weights, reading_setting
from cae_train.config import TrainConfig
from cae_train.data.images import channels_of
from cae_train.errors import ConfigError
from cae_train.models import build, options_of
from cae_train.models.base import Autoencoder
from cae_train.training.optimization.losses import loss_of


def initial_network(config: TrainConfig) -> Autoencoder:
    """Return the initial network of a run: new, or with the weights of `config.start`.

    Raises:
        ConfigError, CheckpointError: see `new_network` and `begin`.
    """
    network = new_network(config)
    begin(network, config)
    return network


def new_network(config: TrainConfig) -> Autoencoder:
    """Return the network that the settings describe, freshly initialized.

    Raises:
        ConfigError: the network does not fit the loss or `quantize_aware`.
    """
    torch.manual_seed(config.seed)
    network = build(config.arch, config.model, channels_of(config))
    loss_of(config.loss, network)
    if config.quantize_aware and not network.rounds:
        raise ConfigError(
            f"quantize_aware=True does not support this {config.arch}: choose skip, or cae with its default options"
        )
    return network


def begin(network: Autoencoder, config: TrainConfig, *, weights: bool = True) -> None:
    """Prepare a new network for the first epoch, and load its initial weights.

    `config.start` is a model.pt or a state dict (`torch.save(network.state_dict(), path)`) of the network that `arch`
    and `model` describe. If the model.pt has training branches and this network has none, they are folded. If `weights`
    is False, no weights are loaded.

    Raises:
        ConfigError: `start` is of another network than `arch` and `model` describe, or of other channels; or there are
            too few epochs for the network.
        CheckpointError: `start` or pretrained weights cannot be read.
    """
    if config.epochs:
        network.begin_epoch(0, config.epochs)
    if not weights:
        return
    if config.start and network.weights_file:
        raise ConfigError(
            f"start is {config.start} and model option weights is {network.weights_file}: choose one, since "
            "both are weights to begin from"
        )
    if not config.start:
        network.pretrain(config.data_dir)
        return
    with reading_setting("start"):
        weights_alone = load_weights(Path(config.start))
        loaded = load_model(Path(config.start)) if weights_alone is None else None
    if weights_alone is not None:
        _take(weights_alone, network, config)
    if loaded is not None:
        _take_model(loaded, network, config)


def _take_model(loaded: LoadedModel, network: Autoencoder, config: TrainConfig) -> None:
    """Load the weights of a model.pt into the network."""
    start = loaded.network
    if _kind(config.arch, start) != _kind(config.arch, network):
        start = start.folded()
    theirs, ours = _kind(loaded.arch, start), _kind(config.arch, network)
    if theirs != ours:
        other = [f"{name} {theirs.get(name)}, here {ours.get(name)}" for name in theirs | ours
                 if theirs.get(name) != ours.get(name)]  # fmt: skip
        shown = other[:1] if other[0].startswith("arch ") else other
        raise ConfigError(f"start: {config.start} is another network: {'; '.join(shown)} (arch and model say which)")
    if start.channels != network.channels:
        raise ConfigError(
            f"start: {config.start} is a network for {start.channels} channels, here they are "
            f"{network.channels}: set channels to {start.channels}"
        )
    network.load_state_dict(start.state_dict())


def _take(weights: dict[str, Tensor], network: Autoencoder, config: TrainConfig) -> None:
    """Load a state dict into the network after checking names and shapes, as it does not name its network."""
    ours = network.state_dict()
    wrong = [name for name in ours | weights if name not in ours or name not in weights
             or ours[name].shape != weights[name].shape]  # fmt: skip
    if wrong:
        raise ConfigError(
            f"start: {config.start} holds the weights of another network than this {config.arch}: {len(wrong)} of "
            f"{len(ours)} do not fit, {wrong[0]} is the first (arch and model say what they are of)"
        )
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise ConfigError(f"start: {config.start} holds weights that are not finite")
    network.load_state_dict(weights)


def _kind(arch: str, network: Autoencoder) -> dict[str, Any]:
    """The identity of a network: its name and options, without those that only affect training."""
    return {"arch": arch} | {k: v for k, v in options_of(network).items() if k not in network.training_options}
