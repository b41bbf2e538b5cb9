"""Images -> clean 32x32 patches -> (degraded, clean) pairs: drawn anew for each step, or fixed for measuring."""

from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cae_train import seeds
from cae_train.config import PATCH, TrainConfig
from cae_train.data.augment import drawn_count, jittered, without_grain
from cae_train.data.images import Image
from cae_train.data.registry import DATASETS
from cae_train.degradations.chain import Chain, center
from cae_train.errors import ConfigError

HELD_OUT_PATCHES = 2048


def to_tensor(patches: NDArray[np.uint8]) -> Tensor:
    """uint8 N x H x W x C -> float32 N x C x H x W in 0..1 (channels-last in memory)."""
    return torch.from_numpy(patches).permute(0, 3, 1, 2).float().div_(255)


def check_shared(batch: int, world: int) -> None:
    """Check that `world` processes can share the patches of each step evenly.

    Raises:
        ConfigError: they cannot.
    """
    if batch % world:
        raise ConfigError(
            f"batch is {batch}: {world} processes share each step's patches, it must be a multiple of {world}"
        )


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Batches of (degraded, clean) training patches; each is a pure function of (seed, epoch, step).

    Images of exactly one patch are each used once an epoch, in a new order (but for what does not fill a last batch);
    larger ones are cropped at random, `epoch_crops` times, each in proportion to its area. Every patch is flipped and
    turned by quarters at random, but for data sets whose images are `upright`, unless they are mixed with others, and
    not at all with `config.upright`. The share `config.degrain` of them loses its own grain, the share `config.jitter`
    gets other colors, and the share `config.gray` is made gray (the mean of the channels) before it is degraded.
    Where the degradation reaches over a patch's edge, larger images are cropped with what lies around the patch.
    """

    def __init__(self, images: Sequence[Image], degrade: Chain, config: TrainConfig) -> None:
        self.images = images
        self.degrade = degrade
        self.batch, self.gray, self.jitter = config.batch, config.gray, config.jitter
        self.degrain = config.degrain
        self.seed = config.seed
        self.rank, self.world = 0, 1
        self.upright = config.upright or all(name in DATASETS and DATASETS[name].upright for name in config.data)
        self.whole = all(image.shape[:2] == (PATCH, PATCH) for image in images)
        self.margin = 0 if self.whole else degrade.reach
        self.areas = np.cumsum([float(image.shape[0] * image.shape[1]) for image in images])
        self.steps = max(1, (len(images) if self.whole else config.epoch_crops) // config.batch)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Step `key[1]` of epoch `key[0]`: degraded and clean, float32 batch x C x 32 x 32 in 0..1 each."""
        chosen = self.images_of(*key) if self.whole else None
        if self.world > 1:
            key = *key, self.rank, self.world
        rng = seeds.rng(self.seed, seeds.TRAIN, *key)
        clean = to_tensor(self._patches(rng, key, chosen))
        clean = jittered(clean, self.jitter, self._generator(seeds.COLORS, key))
        return _degraded(clean, self.degrade, self._generator(seeds.NOISE, key), self.gray, self.margin)

    def share(self, rank: int, world: int) -> "Pairs":
        """The part of every batch that one of `world` processes makes: `batch / world` patches that no other makes.

        Raises:
            ConfigError: the batch cannot be shared out evenly.
        """
        check_shared(self.batch, world)
        part = copy(self)
        part.rank, part.world, part.batch = rank, world, self.batch // world
        return part

    def images_of(self, epoch: int, *steps: int) -> NDArray[np.int64]:
        """Indexes of the images of one patch each that these steps of an epoch use, in the steps' order."""
        order = seeds.rng(self.seed, seeds.ORDER, epoch).permutation(len(self.images))
        batch = self.batch * self.world
        batches = [order[step * batch : (step + 1) * batch] for step in steps]
        return np.concatenate([each[self.rank :: self.world] if len(each) >= self.world else each for each in batches])

    def _generator(self, stream: int, key: tuple[int, ...]) -> torch.Generator:
        return seeds.torch_rng(self.seed, stream, *key)

    def _patches(
        self, rng: np.random.Generator, key: tuple[int, ...], chosen: NDArray[np.int64] | None
    ) -> NDArray[np.uint8]:
        if chosen is None:
            chosen = np.searchsorted(self.areas, rng.random(self.batch) * self.areas[-1], side="right")
        side = PATCH + 2 * self.margin
        patches = np.empty((len(chosen), side, side, self.images[0].shape[2]), np.uint8)
        turns = rng.integers(8, size=len(chosen)) * (not self.upright)
        for patch, index, turn in zip(patches, chosen, turns, strict=True):
            crop = random_crop(self.images[index], rng, margin=self.margin)
            crop = crop[:, ::-1] if turn & 1 else crop
            crop = crop[::-1] if turn & 2 else crop
            patch[:] = crop.transpose(1, 0, 2) if turn & 4 else crop
        if self.degrain:
            grainy = seeds.rng(self.seed, seeds.GRAIN, *key).random(len(patches)) < self.degrain
            for index in np.flatnonzero(grainy):
                patches[index] = without_grain(patches[index])
        return patches


def random_crop(image: Image, rng: np.random.Generator, patch: int = PATCH, margin: int = 0) -> Image:
    """A random patch of the image (a view), or it with `margin` pixels around it, reflected where the image ends."""
    y, x = rng.integers(image.shape[0] - patch + 1), rng.integers(image.shape[1] - patch + 1)
    crop = image[max(0, y - margin) : y + patch + margin, max(0, x - margin) : x + patch + margin]
    if not margin:
        return crop
    lacking = [
        (max(0, margin - place), max(0, place + patch + margin - length))
        for place, length in zip((y, x), image.shape[:2], strict=True)
    ]
    return np.pad(crop, (*lacking, (0, 0)), mode="reflect") if np.any(lacking) else crop


def _degraded(
    clean: Tensor, degrade: Chain, generator: torch.Generator, gray: float, margin: int = 0
) -> tuple[Tensor, Tensor]:
    """Degrade N x C x H x W, and cut a margin off both; of the first the share `gray` is made gray, in `clean` too."""
    degraded = degrade(clean, generator, margin)
    count = drawn_count(gray, len(clean), generator) if gray else 0
    if count:
        luminance = clean[:count].mean(1, keepdim=True).mul_(255).round_().div_(255)  # count x 1 x H x W
        degraded[:count] = degrade.of_gray(luminance, clean.shape[1], generator, margin)
        clean[:count] = luminance
    return degraded, center(clean, margin).contiguous() if margin else clean


class EpochSampler(Sampler[tuple[int, int]]):
    """The keys of one epoch's steps, the same in every process; Lightning calls `set_epoch`."""

    def __init__(self, steps: int) -> None:
        self.steps, self.epoch = steps, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch that the next iteration belongs to."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, step) for step in range(self.steps))


def fixed_pairs(
    images: Sequence[Image],
    degrade: Chain,
    seed: int,
    limit: int | None = None,
    gray: float = 0.0,
    patch: int = PATCH,
) -> tuple[Tensor, Tensor]:
    """The same pairs at every call: degraded and clean, float32 N x C x P x P in 0..1 each; P is `patch`.

    Images of exactly one patch are taken whole, in their order; of larger ones N = `limit` random crops are taken,
    the images in turn, or spread evenly over them where they are more than N. The share `gray` of them, the first, is
    made gray.
    """
    clean, margin = fixed_patches(images, degrade.reach, seed, limit, patch)
    return _degraded(clean, degrade, noise_generator(seed), gray, margin)


def fixed_patches(
    images: Sequence[Image], reach: int, seed: int, limit: int | None = None, patch: int = PATCH
) -> tuple[Tensor, int]:
    """The clean side of `fixed_pairs`, with `reach` pixels around each crop (none where images are one patch).

    Returns:
        float32 N x C x P + 2M x P + 2M in 0..1, and M, its margin.
    """
    rng = seeds.rng(seed, seeds.CROPS)
    if all(image.shape[:2] == (patch, patch) for image in images):
        return to_tensor(np.stack(images[:limit])), 0
    count = limit or HELD_OUT_PATCHES
    turn = range(count) if len(images) <= count else [i * len(images) // count for i in range(count)]
    patches = [random_crop(images[i % len(images)], rng, patch, reach) for i in turn]
    return to_tensor(np.stack(patches)), reach


def noise_generator(seed: int) -> torch.Generator:
    """The random numbers that `fixed_pairs` draws while it degrades."""
    return seeds.torch_rng(seed, seeds.HELD_OUT_NOISE)
