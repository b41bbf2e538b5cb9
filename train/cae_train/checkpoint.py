"""Reads and writes `model.pt`: weights, and the configuration that rebuilds the network.

A dictionary of plain values and tensors, so that it loads with `weights_only=True`:

    format    "cae-toolkit"
    schema    1
    version   of the toolkit that wrote it
    arch      a name of `cae_train.models.ARCHITECTURES`
    options   the architecture's options
    channels  of the pictures: 3 (RGB; also where the key is missing) or 1 (gray)
    state     the network's weights (the moving average where the run had one), float32
    config    the run's `TrainConfig` as a dictionary
    metrics   psnr_in, psnr_out (dB), evaluated_on, epoch; empty if a run was stopped before its first epoch ended
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cae_shared.temporary import whole_file
from cae_train.config import TrainConfig
from cae_train.degradations.registry import chain_of
from cae_train.errors import CheckpointError, ConfigError
from cae_train.models import build, options_of
from cae_train.models.base import Autoencoder
from cae_train.paths import checked_path
from cae_train.tensor_files import read_tensors

FORMAT, SCHEMA = "cae-toolkit", 1
MAX_BYTES = 512 * 2**20
PLAIN_MAX = 10_000  # values that say what a network is and how it was trained


@dataclass(frozen=True)
class LoadedModel:
    """The contents of `model.pt`, with the network rebuilt in evaluation mode on the CPU."""

    network: Autoencoder
    arch: str
    config: TrainConfig
    metrics: Mapping[str, Any]
    version: str


def save_model(path: Path, network: nn.Module, config: TrainConfig, metrics: Mapping[str, Any]) -> None:
    """Write `model.pt`, completely or not at all.

    Raises:
        CheckpointError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "version": version("cae-toolkit"),
        "arch": config.arch,
        "options": options_of(network),
        "channels": network.channels,
        "state": {name: value.detach().cpu().float().contiguous() for name, value in network.state_dict().items()},
        "config": config.to_dict(),
        "metrics": dict(metrics),
    }
    write_whole(path, content)


def write_whole(path: Path, content: object) -> None:
    """Write what torch can save, completely or not at all: a disk that fills up leaves the file that was there.

    Raises:
        CheckpointError: the file cannot be written.
    """
    saved = io.BytesIO()
    torch.save(content, saved)  # given a path, it would store the file's name; given a full disk, it names no reason
    try:
        with whole_file(path) as partial:
            partial.write_bytes(saved.getbuffer())
    except OSError as e:
        raise CheckpointError(f"{path} cannot be written: {e.strerror or e}") from e


@contextmanager
def reading_setting(name: str) -> Iterator[None]:
    """A block that reads the file that a setting names: the message of an error begins with the setting."""
    try:
        yield
    except CheckpointError as e:
        raise type(e)(f"{name}: {e}") from e


def load_weights(path: Path) -> dict[str, Tensor] | None:
    """Read a file that holds only a network's `state_dict()`.

    Returns:
        The weights by name, float32; None if the file is a `model.pt`.

    Raises:
        CheckpointError: the file does not exist (then also a FileNotFoundError), is damaged or too large, or holds
            neither a model nor weights.
    """
    content = read_tensors(path, MAX_BYTES, "model.pt of cae-train or file of weights")
    _refuse_checkpoint(path, content)
    if isinstance(content, dict) and "format" in content:
        return None
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} is neither a model.pt of cae-train nor a file of named weights")
    try:
        return _floats(content)
    except ValueError as e:
        raise CheckpointError(f"{path} holds no weights: {e}") from e


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as float32.

    Raises:
        ValueError: some are complex.
    """
    if found := [name for name, value in state.items() if value.is_complex()]:
        raise ValueError(f"{found[0]!r} has complex numbers")
    return {str(name): value.float() for name, value in state.items()}


def _says(value: object, wanted: str) -> bool:
    return isinstance(value, str) and value == wanted


def _is_plain(content: object) -> bool:
    """Return whether content consists of plain values alone, and of no more than a configuration has."""
    waiting, left = [content], PLAIN_MAX
    while waiting:
        value = waiting.pop()
        left -= 1
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif value is not None and type(value) not in (str, int, float, bool):
            return False
        if left < 0 or len(waiting) > PLAIN_MAX:
            return False
    return True


def _refuse_checkpoint(path: Path, content: object) -> None:
    """Refuse what a run is continued from.

    Raises:
        CheckpointError: it is such a file; the message names the `model.pt` beside it.
    """
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        beside = path.with_name("model.pt")
        hint = f": name {beside}" if beside.is_file() else ", from which cae-train continues a run: name its model.pt"
        raise CheckpointError(f"{path} is a checkpoint of a run{hint}")


def load_model(path: str | os.PathLike[str]) -> LoadedModel:
    """Read a `model.pt`. Untrusted files are safe to read: code in them is never run.

    Raises:
        CheckpointError: the file does not exist (then also a FileNotFoundError), was written by another program, is
            damaged or too large, or its weights do not fit the network.
        ConfigError: `path` is empty, or not a path (then also a TypeError).
    """
    path = checked_path("path", path)
    content = read_tensors(path, MAX_BYTES, "model.pt of cae-train")
    _refuse_checkpoint(path, content)
    if not isinstance(content, dict) or not _says(content.get("format"), FORMAT):
        raise CheckpointError(f"{path} is not a model.pt of cae-train: it was written by another program")
    told = {key: value for key, value in content.items() if key != "state"}
    if not _is_plain(told):  # a tensor in the place of a list may have any length
        raise CheckpointError(f"{path} cannot be rebuilt: its description of the network is not made of plain values")
    if content.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} has schema {content.get('schema')!r}, this version reads {SCHEMA}: upgrade")
    try:
        with torch.device("meta"):  # takes no memory: a hostile file may describe a network far larger than its weights
            network = build(content["arch"], content["options"], content.get("channels", 3))
        network.load_state_dict(_floats(content["state"]), assign=True)
        config = TrainConfig.from_dict(content["config"])
        chain_of(config)
        loaded = LoadedModel(network.eval(), content["arch"], config, dict(content["metrics"]), str(content["version"]))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ConfigError) as e:
        reason = str(e).splitlines()[0][:200] if str(e) else type(e).__name__
        raise CheckpointError(f"{path} cannot be rebuilt: {reason}") from e
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are not finite: its training diverged")
    return loaded
