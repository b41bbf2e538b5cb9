"""What a network is fitted to: frames of a burst beside the mean of the others, and photographs with the same noise."""

import re
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cae_train import streams
from cae_train.burst.targets import Target
from cae_train.config import PATCH, TrainConfig
from cae_train.data import Split
from cae_train.degrade import chain_of
from cae_train.errors import DataError
from cae_train.measured import NoiseModel, at
from cae_train.packaged import photographs
from cae_train.patches import Pairs
from cae_train.synthetic import load_synthetic

FROM_BURST = 0.5  # share of the patches of a step
HELD_OUT_FRAMES, HELD_OUT_PART = 0.15, 0.25  # of the frames, and of the picture's width where there is one scene
HELD_OUT_SCENES = 0.2
NAMED = 3  # of the held-out scenes
HELD_OUT_PATCHES = 1024
DRAWN = 12  # drawn pictures beside the photographs
LEAST_SIGMA = 0.5 / 255  # that noise is divided by

Image = NDArray[np.uint8]


class BurstPairs(Dataset[tuple[Tensor, Tensor]]):
    """Batches of (noisy, clean), float32 N x 3 x 32 x 32 in 0..1; each is a function of (seed, epoch, step).

    Half are windows of frames beside the mean of the other frames, flipped, and with `turn` transposed; the others are
    photographs, so that a few scenes are not learnt by heart. Half of these have noise drawn from the measured model,
    half the very noise of other windows, brought to the strength that it has at their brightness; where it goes
    through a tone curve or JPEG after it was drawn, all do.
    """

    def __init__(self, parts: Sequence["Part"], images: Sequence[Image], config: TrainConfig, turn: bool) -> None:
        self.parts, self.seed, self.turn = parts, config.seed, turn
        self.own = round(config.batch * FROM_BURST)
        rest = TrainConfig.from_dict(config.to_dict() | {"batch": config.batch - self.own})
        noise = NoiseModel.from_dict(config.noise)
        self.coded = len(config.degrade) > 1 or noise.gamma != 1
        self.photographs = Pairs(images, chain_of(config), rest)
        self.steps = max(1, config.epoch_crops // config.batch)
        self.sigma, self.bias = torch.from_numpy(noise.sigma), torch.from_numpy(noise.bias)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Step `key[1]` of epoch `key[0]`."""
        rng = streams.rng(self.seed, streams.BURST, *key)
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
        standard = (noisy - clean - at(clean, self.bias)) / at(clean, self.sigma).clamp_min(LEAST_SIGMA)
        result = picture + standard * at(picture, self.sigma) + at(picture, self.bias)
        return result.mul(255).round_().clamp_(0, 255).div_(255)


class Part:
    """Windows that may be drawn from a scene: some of its frames, and of its columns.

    Args:
        target: the scene.
        frames: numbers of frames.
        columns: the first column and the one after the last.

    Raises:
        DataError: something moves everywhere.
    """

    def __init__(self, target: Target, frames: Sequence[int], columns: tuple[int, int] | None = None) -> None:
        self.target, self.frames = target, frames
        self.columns = columns or (0, target.usable.shape[1])
        first, last = self.columns
        moving = (~target.usable[:, first:last]).astype(np.uint8)
        free = cv2.dilate(moving, np.ones((PATCH, PATCH), np.uint8), anchor=(0, 0))[: 1 - PATCH, : 1 - PATCH] == 0
        self.places = np.flatnonzero(free)
        self.wide = free.shape[1]
        if not len(self.places):
            name = target.steady.scene.name
            raise DataError(f"scene {name!r}: no {PATCH}x{PATCH} pixels stand still in columns {first} to {last}")

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A window of a frame, and what it would be without noise, 32 x 32 x 3 in 0..255."""
        y, x = divmod(int(self.places[int(rng.integers(len(self.places)))]), self.wide)
        number = self.frames[int(rng.integers(len(self.frames)))]
        return self.target.pair(number, y, x + self.columns[0], PATCH)


def drawn(
    parts: Sequence[Part], count: int, rng: np.random.Generator, turn: bool, fair: bool = False
) -> tuple[Tensor, Tensor]:
    """So many windows of scenes, flipped and with `turn` transposed too at random.

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


def split(targets: Sequence[Target]) -> tuple[list[Part], list[Part], str]:
    """Parts to train on, parts to judge by, and what the latter are, in a few words.

    Of several scenes some are held out whole; of one, a quarter of the picture, of which frames are judged that are in
    no training window. Crops of one shot, whose names end in different numbers, are one scene.
    """
    names = list(dict.fromkeys(map(_shot, targets)))
    if len(names) > 1:
        held = names[-max(1, round(len(names) * HELD_OUT_SCENES)) :]
        own = [_whole(target) for target in targets if _shot(target) not in held]
        others = [_whole(target) for target in targets if _shot(target) in held]
        named = ", ".join(map(repr, held[:NAMED])) + " ..." * (len(held) > NAMED)
        return own, others, f"held-out scene {named}"
    if len(targets) > 1:  # crops of one shot
        return [_whole(target) for target in targets[:-1]], [_whole(targets[-1])], "a held-out crop"
    (target,) = targets
    count, width = len(target.steady.gains), target.usable.shape[1]
    frames = max(1, round(count * HELD_OUT_FRAMES))
    part = max(2 * PATCH, round(width * HELD_OUT_PART))
    sides = ((0, width - part), (width - part, width)), ((part, width), (0, part))  # the rest, and what is held out
    rest, judged = max(sides, key=lambda side: int(target.usable[:, slice(*side[1])].sum()))
    own_frames = range(count - frames) if count > frames else range(count)
    return (
        [Part(target, own_frames, rest)],
        [Part(target, range(count - frames, count), judged)],
        f"a quarter of the picture in {frames} held-out frames",
    )


def _shot(target: Target) -> str:
    """The name of a scene; of a crop with its mean without the crop's number, as PolyU names them."""
    scene = target.steady.scene
    return scene.name if scene.truth is None else re.sub(r"_+\d{0,2}$", "", scene.name)


def _whole(target: Target) -> Part:
    return Part(target, range(len(target.steady.gains)))


def held_out(parts: Sequence[Part], seed: int) -> tuple[Tensor, Tensor]:
    """The windows that are judged by, the same at every call: 1024 x 3 x 32 x 32 each."""
    return drawn(parts, HELD_OUT_PATCHES, streams.rng(seed, streams.BURST), turn=False)


def packaged_images(seed: int) -> Split:
    """Clean pictures that come with the package: patches of photographs, and a few drawn pictures."""
    every = photographs()
    return Split(train=[*every.train, *load_synthetic(seed)[:DRAWN]], validation=every.validation)
