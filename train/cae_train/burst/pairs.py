"""The pairs that a network is fitted to: frames and the mean of the others, and photographs with the same noise."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cae_train import seeds
from cae_train.burst.targets import Target
from cae_train.config import PATCH, TrainConfig
from cae_train.data.images import Split
from cae_train.data.packaged import photographs
from cae_train.data.pairs import Pairs
from cae_train.data.patterns import load_patterns
from cae_train.data.synthetic import load_synthetic
from cae_train.degradations.measured_noise import NoiseModel, at
from cae_train.degradations.registry import chain_of
from cae_train.errors import DataError

FROM_BURST = 0.5  # share of the patches of a training step that come from the burst
FROM_CODED_BURST = 0.75  # the same if the noise goes through heavy JPEG: that before it is only estimated
FOLDS_MOST = 5  # largest number of folds; of more scenes, each fold leaves out several
NAMES_SHOWN = 3  # scenes of a fold that messages name
WATCHED_PATCHES = 256  # patches by which the best epoch is chosen
SYNTHETIC_PICTURES, PATTERNS = 12, 2  # drawn pictures that are added to the photographs
LITTLE_NOISE = 0.05  # for using a half-size mean as a clean picture: the largest share of noise left in it, and
MOSTLY_STILL = 0.95  # the share of it that must be static
LEAST_SIGMA = 0.5 / 255  # that noise is divided by

Image = NDArray[np.uint8]


class BurstPairs(Dataset[tuple[Tensor, Tensor]]):
    """Batches of (noisy, clean), float32 N x 3 x 32 x 32 in 0..1; each is a function of (seed, epoch, step).

    Half are windows of frames with the mean of the other frames as target, flipped and, with `turn`, transposed. The
    others are photographs, so that a few scenes are not learned by heart. Half of these have noise drawn from the
    measured model, half the actual noise of other windows, rescaled to their brightness. If the noise goes through JPEG
    after it is drawn, all photographs use the model, and they are a quarter.
    """

    def __init__(self, parts: Sequence["Part"], images: Sequence[Image], config: TrainConfig, turn: bool) -> None:
        self.parts, self.seed, self.turn = parts, config.seed, turn
        self.coded = len(config.degrade) > 1
        self.own = min(config.batch - 1, round(config.batch * (FROM_CODED_BURST if self.coded else FROM_BURST)))
        rest = TrainConfig.from_dict(config.to_dict() | {"batch": config.batch - self.own})
        noise = NoiseModel.from_dict(config.noise)
        self.photographs = Pairs(images, chain_of(config), rest)
        self.steps = max(1, config.epoch_crops // config.batch)
        self.sigma = torch.from_numpy(noise.sigma)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Step `key[1]` of epoch `key[0]`."""
        rng = seeds.rng(self.seed, seeds.BURST, *key)
        noisy, clean = drawn(self.parts, self.own, rng, turn=self.turn)
        more_noisy, more_clean = self.photographs[
            key[0], key[1] % self.photographs.steps if self.photographs.whole else key[1]
        ]
        half = 0 if self.coded else len(more_clean) // 2
        others = drawn(self.parts, half, rng, turn=self.turn, fair=True)
        more_noisy[:half] = self._with_noise_of(more_clean[:half], *others)
        return torch.cat([noisy, more_noisy]), torch.cat([clean, more_clean])

    def _with_noise_of(self, picture: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
        """Photographs with the noise of windows, of 8 bits; N x 3 x 32 x 32 each."""
        standard = (noisy - clean) / at(clean, self.sigma).clamp_min(LEAST_SIGMA)
        result = picture + standard * at(picture, self.sigma)
        return result.mul(255).round_().clamp_(0, 255).div_(255)


class Part:
    """Windows that may be drawn from a scene: those in which nothing moves.

    Raises:
        DataError: something moves everywhere.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        moving = (~target.usable).astype(np.uint8)
        free = cv2.dilate(moving, np.ones((PATCH, PATCH), np.uint8), anchor=(0, 0))[: 1 - PATCH, : 1 - PATCH] == 0
        self.places = np.flatnonzero(free)
        self.wide = free.shape[1]
        if not len(self.places):
            raise DataError(f"scene {target.steady.scene.name!r}: no {PATCH}x{PATCH} pixels of it stand still")

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A window of a frame, and the same without noise, 32 x 32 x 3 in 0..255."""
        y, x = divmod(int(self.places[int(rng.integers(len(self.places)))]), self.wide)
        number = int(rng.integers(len(self.target.steady.gains)))
        return self.target.pair(number, y, x, PATCH)


def drawn(
    parts: Sequence[Part], count: int, rng: np.random.Generator, turn: bool, fair: bool = False
) -> tuple[Tensor, Tensor]:
    """Random windows of scenes, randomly flipped and, with `turn`, transposed.

    Returns:
        Noisy and clean, float32 N x 3 x 32 x 32 in 0..1; with `fair` they differ by one frame's noise, without that of
        the mean.
    """
    pairs = np.empty((2, count, PATCH, PATCH, 3), np.float32)
    for index in range(count):
        part = parts[int(rng.integers(len(parts)))]
        noisy, clean = part.draw(rng)
        pair = (clean + (noisy - clean) / np.float32((1 + part.target.left) ** 0.5) if fair else noisy), clean
        way = int(rng.integers(8 if turn else 4))
        for side, window in enumerate(pair):
            flipped = window[:: -1 if way & 1 else 1, :: -1 if way & 2 else 1]
            pairs[side, index] = flipped.transpose(1, 0, 2) if way & 4 else flipped
    tensors = torch.from_numpy(pairs).permute(0, 1, 4, 2, 3).div_(255)
    return tensors[0], tensors[1]


@dataclass(frozen=True)
class Fold:
    """Scenes to train on, held-out scenes to judge by, and the names of the latter."""

    own: list[Part]
    left_out: list[Part]
    name: str


def folds(targets: Sequence[Target]) -> list[Fold]:
    """Hold out each scene once, in at most five folds; a single scene has no folds.

    Crops of one shot, whose names end in different numbers, are one scene.
    """
    names = list(dict.fromkeys(map(_shot, targets)))
    if len(names) == 1:
        return []
    found = []
    for group in (names[i::FOLDS_MOST] for i in range(min(FOLDS_MOST, len(names)))):
        own = [Part(target) for target in targets if _shot(target) not in group]
        left_out = [Part(target) for target in targets if _shot(target) in group]
        names_shown = ", ".join(map(repr, group[:NAMES_SHOWN])) + " ..." * (len(group) > NAMES_SHOWN)
        found.append(Fold(own, left_out, names_shown))
    return found


def _shot(target: Target) -> str:
    """The name of a scene; for crops with a given mean, without the crop's number, as PolyU names them."""
    scene = target.steady.scene
    return scene.name if scene.truth is None else re.sub(r"_+\d{0,2}$", "", scene.name)


def watched(parts: Sequence[Part], seed: int) -> tuple[Tensor, Tensor]:
    """Windows of the training scenes for choosing the best epoch; the same at every call."""
    return drawn(parts, WATCHED_PATCHES, seeds.rng(seed, seeds.BURST), turn=False)


def halves(targets: Sequence[Target], photographs: Sequence[Image]) -> list[Image]:
    """What may be learned from scenes at half their size, where little noise is left; at most a quarter of all.

    Each scene gives its middle, in proportion to its size; scenes with few frames or with motion give nothing.
    """
    still = [target for target in targets if target.left <= LITTLE_NOISE and target.usable.mean() > MOSTLY_STILL]
    most = sum(image.shape[0] * image.shape[1] for image in photographs) / 3 / max(1, len(still))
    found = []
    for target in still:
        half = cv2.resize(target.smooth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).round().clip(0, 255)
        share = min(1.0, (most / (half.shape[0] * half.shape[1])) ** 0.5)
        height, width = (max(min(PATCH, size), int(size * share)) for size in half.shape[:2])
        y, x = (half.shape[0] - height) // 2, (half.shape[1] - width) // 2
        if min(height, width) >= PATCH:
            found.append(half[y : y + height, x : x + width].astype(np.uint8))
    return found


def packaged_images(seed: int) -> Split:
    """Clean pictures that come with the package: patches of photographs, a third of all pixels, and drawn pictures."""
    every = photographs()
    synthetic = [*load_synthetic(seed, SYNTHETIC_PICTURES), *load_patterns(seed, PATTERNS)]
    return Split(train=[*every.train, *synthetic], validation=every.validation)
