"""Batches of (degraded, clean) patches that are made on a device and never leave it.

The patches of several steps are made at once, so that launching a few hundred small operations pays off. The content of
such a block is a function of (seed, epoch, block), so a resumed run continues with the same patches as an uninterrupted
one.
"""

import torch
from torch import Tensor

from cae_train import seeds
from cae_train.config import PATCH
from cae_train.data.augment import drawn_count, jittered
from cae_train.data.pairs import Pairs
from cae_train.degradations.chain import center
from cae_train.on_device.chain import chain_on_device
from cae_train.on_device.filters import without_grain
from cae_train.on_device.pictures import Pictures

BLOCK = 4096  # the most patches that are made at once, unless a batch is larger


class DevicePairs:
    """The batches of `Pairs`, made on a device: drawn from the same distribution, but not the same ones.

    Args:
        pairs: the pictures to learn from, and their degradations.
        device: the device that holds the pictures, and on which the patches are made.

    Raises:
        ConfigError: a degradation works only on the CPU.
        torch.OutOfMemoryError: the pictures do not fit into the device's memory.
    """

    def __init__(self, pairs: Pairs, device: torch.device) -> None:
        self.degrade = chain_on_device(pairs.degrade)
        self.host, self.device = pairs, device
        self.steps = pairs.steps
        self.pictures = Pictures(pairs.images, device)
        self.block_steps = max(1, BLOCK // pairs.batch)
        self._made: tuple[tuple[int, int, int], list[tuple[Tensor, Tensor]]] | None = None

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Step `key[1]` of epoch `key[0]`: degraded and clean, float32 batch x C x 32 x 32 in 0..1 each."""
        epoch, step = key
        rank = self.host.rank
        block, number = divmod(step, self.block_steps)
        if self._made is None or self._made[0] != (epoch, block, rank):
            self._made = None  # free its memory before the next block is made
            first = block * self.block_steps
            steps = [*range(first, max(min(first + self.block_steps, self.steps), first + 1))]
            self._made = (epoch, block, rank), self._make(epoch, steps, (epoch, block, rank))
        return self._made[1][number]

    @torch.no_grad()
    def _make(self, epoch: int, steps: list[int], key: tuple[int, int, int]) -> list[tuple[Tensor, Tensor]]:
        """The batches of these steps of an epoch."""
        generator = seeds.torch_rng(self.host.seed, seeds.DEVICE, *key, device=self.device)
        with torch.device(self.device), torch.autocast(self.device.type, enabled=False):
            clean = self._clean(epoch, steps, generator)
            degraded, clean = self._degraded(clean, generator)
            mixed = torch.randperm(len(clean), generator=generator)
            batches = [mixed[first : first + self.host.batch] for first in range(0, len(mixed), self.host.batch)]
            return [(_laid_out(degraded[each]), _laid_out(clean[each])) for each in batches]

    def _clean(self, epoch: int, steps: list[int], generator: torch.Generator) -> Tensor:
        """Patches before they are degraded, float32 N x C x S x S in 0..1, S = 32 + 2 x margin."""
        host, count = self.host, self.host.batch * len(steps)
        if host.whole:
            images = torch.from_numpy(host.images_of(epoch, *steps)).to(self.device)
        else:
            images = self.pictures.by_area(count, generator)
        patches = self.pictures.crops(images, PATCH, host.margin, host.upright, generator).float()
        if host.degrain:
            grainy = torch.nonzero(torch.rand(len(patches), generator=generator) < host.degrain)[:, 0]
            patches[grainy] = without_grain(patches[grainy])
        patches = patches.contiguous().div_(255)
        if host.jitter:  # of the last ones: whole data sets come in a random order too
            jittered(patches, host.jitter, generator)
        return patches

    def _degraded(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Degraded and clean patches without their margin; the first patches, a share `gray`, are gray."""
        margin = self.host.margin
        count = drawn_count(self.host.gray, len(clean), generator) if self.host.gray else 0
        degraded = torch.empty_like(center(clean, margin))
        if count:
            gray = clean[:count].mean(1, keepdim=True).mul_(255).round_().div_(255)
            degraded[:count] = self.degrade.of_gray(gray, clean.shape[1], generator, margin)
            clean[:count] = gray
        if count < len(clean):
            degraded[count:] = self.degrade(clean[count:], generator, margin)
        return degraded, center(clean, margin)


def _laid_out(patches: Tensor) -> Tensor:
    """N x C x H x W with channels last in memory, as from `Pairs`; this suits convolutions."""
    return patches.contiguous(memory_format=torch.channels_last)
