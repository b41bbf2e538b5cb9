"""Data sets and folders of photographs -> clean 32x32 patches -> (degraded, clean) pairs.

All images in memory are uint8 H x W x C: 3 channels, RGB, or 1, grey, all of a run alike (`channels_of`). All
randomness comes from `TrainConfig.seed`, but for what is held out: it is the same whatever the seed, so that a run
which starts from the weights of another is not measured on what that one was trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cae_train.augment import drawn_count, jittered, smaller, without_grain
from cae_train.config import PATCH, TrainConfig
from cae_train.datasets import DATASETS
from cae_train.degrade import Chain, centre
from cae_train.errors import ConfigError, DataError

Image = NDArray[np.uint8]  # H x W x C

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
MEMORY_BYTES = 4 * 2**30  # photographs held in memory; beyond it each is represented by a window of its share
SCALE = 0.75  # of a photograph's copy to the next larger one
HELD_OUT_SHARE, HELD_OUT_IMAGES, HELD_OUT_PATCHES = 0.1, 64, 2048

# The streams of random numbers that a run draws from, so that none shifts when another changes.
_SPLIT, _WINDOWS, _CROPS, _TRAIN, _ORDER, _HELD_OUT_NOISE, _NOISE, _GRAIN, _COLOURS = range(9)


@dataclass
class Split:
    """Images for training, held out of it for validation, and a data set's own test part where it has one.

    `test_of` names the data set that the test part belongs to; `notes` says in a line each what was left out and why.
    """

    train: list[Image] = field(default_factory=list)
    validation: list[Image] = field(default_factory=list)
    test: list[Image] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    test_of: str = ""


def channels_of(config: TrainConfig) -> int:
    """Channels of a run's images and network: those that are asked for, else 1 where all data are grey, else 3.

    Raises:
        ConfigError: 1 channel, and a setting that only colours have.
    """
    grey = all(name in DATASETS and DATASETS[name].channels == 1 for name in config.data)
    channels = config.channels or (1 if grey else 3)
    if channels == 1:
        for option, value in (("grey", config.grey), ("jitter", config.jitter)):
            if value:
                raise ConfigError(f"--{option} is {value}: grey images have no colours, 0 is needed (or --channels 3)")
    return channels


def load(config: TrainConfig) -> Split:
    """Everything that `config.data` names, always split the same way, with the channels of `channels_of`.

    Raises:
        ConfigError: as `channels_of`.
        DataError: an unknown data set that is no folder either, one named twice, a folder without usable images, a
            failed download.
    """
    for source in config.data:
        if config.data.count(source) > 1:
            raise DataError(f"--data {source!r} is named twice: once is enough")
    split, channels = Split(), channels_of(config)
    known: set[Path] = set()
    for source in config.data:
        if source in DATASETS:
            _add_data_set(split, source, Path(config.data_dir), channels)
        elif Path(source).is_dir():
            memory = MEMORY_BYTES // len(config.data)
            scales = [SCALE**i for i in range(config.scales)]
            _add_folder(split, Path(source), config.seed, memory, known, scales, channels)
        else:
            raise DataError(
                f"--data {source!r} is no folder and no data set: choose {', '.join(DATASETS)} or a folder of images"
            )
    return split


def _add_data_set(split: Split, name: str, data_dir: Path, channels: int) -> None:
    """Add a data set by its name; of one with a test part a tenth of the rest is held out."""
    images, test = ([with_channels(image, channels) for image in part] for part in DATASETS[name].load(data_dir))
    if not test:
        _hold_out(split, images)
        return
    order = _rng(0, _SPLIT).permutation(len(images))
    held_out = len(images) // 10
    split.validation += [images[i] for i in order[:held_out]]
    split.train += [images[i] for i in order[held_out:]]
    split.test += test
    split.test_of = f"{split.test_of} + {name}" if split.test_of else name


def with_channels(image: Image, channels: int) -> Image:
    """An image H x W x C with so many channels: colours become their luminance (ITU-R BT.601), grey is repeated."""
    if image.shape[2] == channels:
        return image
    code = cv2.COLOR_RGB2GRAY if channels == 1 else cv2.COLOR_GRAY2RGB
    return cv2.cvtColor(image, code).reshape(*image.shape[:2], channels).astype(np.uint8, copy=False)


def _add_folder(
    split: Split, folder: Path, seed: int, memory: int, known: set[Path], scales: Sequence[float], channels: int
) -> None:
    memory = int(memory / sum(scale**2 for scale in scales))
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    paths = [path for path in found if path.resolve() not in known]  # none in two parts of the split
    known.update(path.resolve() for path in paths)
    if found and not paths:
        raise DataError(f"--data {str(folder)!r} has only images that another --data has: leave it out")
    if len(found) > len(paths):
        split.notes.append(f"{folder}: left out {len(found) - len(paths)} images that another --data has")
    if not paths:
        raise DataError(f"--data {str(folder)!r} has no images: {', '.join(sorted(IMAGE_SUFFIXES))} are looked for")
    rng = _rng(seed, _WINDOWS)
    share = memory // (channels * len(paths))  # pixels of each photograph, once all of them exceed the memory
    images: list[Image] = []
    unreadable, small, held, crowded = [], [], 0, False
    for path in paths:
        image = read_rgb(path)
        if image is None:
            unreadable.append(path.name)
            continue
        if min(image.shape[:2]) < PATCH:
            small.append(path.name)
            continue
        image = with_channels(image, channels)
        images.append(_window(image, share, rng) if crowded else image)
        held += images[-1].nbytes
        if held > memory and not crowded:
            crowded = True
            images = [_window(image, share, rng) for image in images]
    for names, why in ((unreadable, "cannot be read"), (small, f"smaller than {PATCH}x{PATCH}")):
        if names:
            split.notes.append(f"{folder}: left out {len(names)} of {len(paths)} images, {why} ({names[0]}, ...)")
    if crowded:
        split.notes.append(f"{folder}: only a part of each large photograph is used, all exceed {memory >> 20} MiB")
    if len(images) < 2:
        why = "".join(f"; {note.partition(': ')[2]}" for note in split.notes[-2:])
        raise DataError(f"--data {str(folder)!r} has {len(images)} usable images: 2 are needed, one is held out{why}")
    _hold_out(split, images, scales)


def _hold_out(split: Split, images: Sequence[Image], scales: Sequence[float] = (1.0,)) -> None:
    """Share `images` out between the two parts; those for training get copies of the further scales."""
    order = _rng(0, _SPLIT).permutation(len(images))
    held_out = min(max(1, round(len(images) * HELD_OUT_SHARE)), HELD_OUT_IMAGES)
    split.validation += [images[i] for i in order[:held_out]]
    copies = (smaller(images[i], scale) for i in order[held_out:] for scale in scales)
    split.train += [image for image in copies if min(image.shape[:2]) >= PATCH]


def read_rgb(path: Path) -> Image | None:
    """A photograph as uint8 H x W x 3, RGB, turned upright by its EXIF; None where it cannot be decoded."""
    try:
        coded = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(coded, flags=cv2.IMREAD_COLOR) if coded.size else None
    except (OSError, cv2.error):
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _window(image: Image, pixels: int, rng: np.random.Generator) -> Image:
    """A random window of about `pixels` pixels with the image's own aspect; a smaller image as it is."""
    height, width = image.shape[:2]
    if height * width <= pixels:
        return image
    scale = max((pixels / (height * width)) ** 0.5, PATCH / min(height, width))
    h, w = max(PATCH, int(height * scale)), max(PATCH, int(width * scale))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return image[y : y + h, x : x + w].copy()


def to_tensor(patches: NDArray[np.uint8]) -> Tensor:
    """uint8 N x H x W x C -> float32 N x C x H x W in 0..1 (channels-last in memory)."""
    return torch.from_numpy(patches).permute(0, 3, 1, 2).float().div_(255)


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Batches of (degraded, clean) training patches; each is a pure function of (seed, epoch, step).

    Images of exactly one patch are each used once an epoch, in a new order (but for what does not fill a last batch);
    larger ones are cropped at random, `epoch_crops` times, each in proportion to its area. Every patch is flipped and
    turned by quarters at random; the share `config.degrain` of them loses its own grain, the share `config.jitter`
    gets other colours, and the share `config.grey` is made grey (the mean of the channels) before it is degraded.
    Where the degradation reaches over a patch's edge, larger images are cropped with what lies around the patch.
    """

    def __init__(self, images: Sequence[Image], degrade: Chain, config: TrainConfig) -> None:
        self.images = images
        self.degrade = degrade
        self.batch, self.grey, self.jitter = config.batch, config.grey, config.jitter
        self.degrain = config.degrain
        self.seed = config.seed
        self.whole = all(image.shape[:2] == (PATCH, PATCH) for image in images)
        self.margin = 0 if self.whole else degrade.reach
        self.areas = np.cumsum([float(image.shape[0] * image.shape[1]) for image in images])
        self.steps = max(1, (len(images) if self.whole else config.epoch_crops) // config.batch)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Step `key[1]` of epoch `key[0]`: degraded and clean, float32 batch x C x 32 x 32 in 0..1 each."""
        rng = _rng(self.seed, _TRAIN, *key)
        clean = to_tensor(self._patches(rng, *key))
        clean = jittered(clean, self.jitter, self._generator(_COLOURS, key))
        return _degraded(clean, self.degrade, self._generator(_NOISE, key), self.grey, self.margin)

    def _generator(self, stream: int, key: tuple[int, int]) -> torch.Generator:
        return torch.Generator().manual_seed(int(_rng(self.seed, stream, *key).integers(2**63)))

    def _patches(self, rng: np.random.Generator, epoch: int, step: int) -> NDArray[np.uint8]:
        if self.whole:
            order = _rng(self.seed, _ORDER, epoch).permutation(len(self.images))
            chosen = order[step * self.batch : (step + 1) * self.batch]
        else:
            chosen = np.searchsorted(self.areas, rng.random(self.batch) * self.areas[-1], side="right")
        side = PATCH + 2 * self.margin
        patches = np.empty((len(chosen), side, side, self.images[0].shape[2]), np.uint8)
        turns = rng.integers(8, size=len(chosen))
        for patch, index, turn in zip(patches, chosen, turns, strict=True):
            crop = random_crop(self.images[index], rng, margin=self.margin)
            crop = crop[:, ::-1] if turn & 1 else crop
            crop = crop[::-1] if turn & 2 else crop
            patch[:] = crop.transpose(1, 0, 2) if turn & 4 else crop
        if self.degrain:
            grainy = _rng(self.seed, _GRAIN, epoch, step).random(len(patches)) < self.degrain
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
    clean: Tensor, degrade: Chain, generator: torch.Generator, grey: float, margin: int = 0
) -> tuple[Tensor, Tensor]:
    """Degrade N x C x H x W, and cut a margin off both; of the first the share `grey` is made grey, in `clean` too."""
    degraded = degrade(clean, generator, margin)
    count = drawn_count(grey, len(clean), generator) if grey else 0
    if count:
        luminance = clean[:count].mean(1, keepdim=True).mul_(255).round_().div_(255)  # count x 1 x H x W
        degraded[:count] = degrade(luminance, generator, margin)
        clean[:count] = luminance
    return degraded, centre(clean, margin).contiguous() if margin else clean


class EpochSampler(Sampler[tuple[int, int]]):
    """The keys of one epoch's steps for one of `world` processes; Lightning calls `set_epoch`."""

    def __init__(self, steps: int, rank: int = 0, world: int = 1) -> None:
        self.steps, self.keys_per_rank = steps, max(1, steps // world)
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Number the epoch that the next iteration belongs to."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.keys_per_rank

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, (step * self.world + self.rank) % self.steps) for step in range(self.keys_per_rank))


def fixed_pairs(
    images: Sequence[Image],
    degrade: Chain,
    seed: int,
    limit: int | None = None,
    grey: float = 0.0,
    patch: int = PATCH,
) -> tuple[Tensor, Tensor]:
    """The same pairs at every call: degraded and clean, float32 N x C x P x P in 0..1 each; P is `patch`.

    Images of exactly one patch are taken whole, in their order; of larger ones N = `limit` random crops are taken,
    the images in turn, or spread evenly over them where they are more than N. The share `grey` of them, the first, is
    made grey.
    """
    clean, margin = fixed_patches(images, degrade.reach, seed, limit, patch)
    return _degraded(clean, degrade, noise_generator(seed), grey, margin)


def fixed_patches(
    images: Sequence[Image], reach: int, seed: int, limit: int | None = None, patch: int = PATCH
) -> tuple[Tensor, int]:
    """The clean side of `fixed_pairs`, with `reach` pixels around each crop (none where images are one patch).

    Returns:
        float32 N x C x P + 2M x P + 2M in 0..1, and M, its margin.
    """
    rng = _rng(seed, _CROPS)
    if all(image.shape[:2] == (patch, patch) for image in images):
        return to_tensor(np.stack(images[:limit])), 0
    count = limit or HELD_OUT_PATCHES
    turn = range(count) if len(images) <= count else [i * len(images) // count for i in range(count)]
    patches = [random_crop(images[i % len(images)], rng, patch, reach) for i in turn]
    return to_tensor(np.stack(patches)), reach


def noise_generator(seed: int) -> torch.Generator:
    """Of what `fixed_pairs` draws while it degrades."""
    return torch.Generator().manual_seed(int(_rng(seed, _HELD_OUT_NOISE).integers(2**63)))


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)
