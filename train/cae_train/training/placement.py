"""Where the patches of a run are made: on the host, by worker processes or not, or on the device that trains."""

import torch
from torch import Tensor

from cae_train.config import Hardware
from cae_train.data.pairs import Pairs, check_shared
from cae_train.errors import ConfigError, TrainingError
from cae_train.on_device.pairs import DevicePairs
from cae_train.training.material import PairSource


def placed(pairs: PairSource, hardware: Hardware, device: torch.device) -> PairSource:
    """The source of a run's patches, moved to the device that trains where `hardware.data_on` says so.

    "auto" is the device where that is a CUDA GPU and no worker processes are asked for; frames of a burst stay on the
    host.

    Args:
        pairs: a source on the host.
        hardware: the wanted place, and how many worker processes.
        device: what trains.

    Raises:
        ConfigError: the device is asked for, and these patches cannot be made there, or worker processes are asked for
            too; a degradation works only on the host.
        TrainingError: the pictures do not fit into the device's memory.
    """
    on_device = hardware.data_on == "device" or (
        hardware.data_on == "auto" and device.type == "cuda" and isinstance(pairs, Pairs) and hardware.workers <= 0
    )
    if not on_device:
        return pairs
    if not isinstance(pairs, Pairs):
        raise ConfigError("data_on is 'device': frames of a burst are cut on the host, choose auto or host")
    if hardware.workers > 0:
        raise ConfigError(
            f"data_on is 'device' and workers is {hardware.workers}: worker processes prepare patches on the host; "
            "choose workers=0, or data_on='host'"
        )
    try:
        return DevicePairs(pairs, device)
    except torch.OutOfMemoryError as e:
        size = sum(image.nbytes for image in pairs.images) / 2**20
        raise TrainingError(
            f"{len(pairs.images)} pictures of {size:,.0f} MiB do not fit into the memory of {device}: choose "
            "data_on='host'"
        ) from e


class Slices:
    """What one of several processes keeps of batches that every process makes: each `world`-th patch."""

    def __init__(self, pairs: PairSource, rank: int, world: int) -> None:
        self.pairs, self.rank, self.world, self.steps = pairs, rank, world, pairs.steps

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch of the source; this process keeps its share of it."""
        degraded, clean = self.pairs[key]
        if len(clean) < self.world:
            return degraded, clean
        return degraded[self.rank :: self.world], clean[self.rank :: self.world]


def shared_out(pairs: PairSource, batch: int, rank: int, world: int) -> PairSource:
    """The patches of one of `world` processes that train together: a part of every batch, which no other has.

    Args:
        pairs: the source of all patches.
        batch: patches of a step.
        rank: which process.
        world: how many processes.

    Raises:
        ConfigError: a batch cannot be shared out evenly.
    """
    if world == 1:
        return pairs
    check_shared(batch, world)
    return pairs.share(rank, world) if isinstance(pairs, Pairs) else Slices(pairs, rank, world)
