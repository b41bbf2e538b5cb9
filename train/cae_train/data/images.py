"""Loads data sets and folders of photographs, and splits them into training and held-out images.

All images in memory are uint8 H x W x C with 3 channels (RGB) or 1 (gray), the same for all images of a run
(`channels_of`). All randomness comes from `TrainConfig.seed`, except the choice of held-out images. These are the same
for every seed, so that a run that starts from the weights of another is not measured on that one's training images.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_shared.text import counted
from cae_train import seeds
from cae_train.config import PATCH, TrainConfig
from cae_train.data.augment import smaller
from cae_train.data.registry import DATASETS
from cae_train.errors import ConfigError, DataError, DataNotFoundError

Image = NDArray[np.uint8]  # H x W x C

GRAY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"))  # of Pillow
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
MEMORY_BYTES = 4 * 2**30  # bytes of photographs in memory; beyond this, each is represented by a window
SCALE = 0.75  # size ratio between successive copies of a photograph
HELD_OUT_SHARE, HELD_OUT_IMAGES = 0.1, 64


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
    """Channels of a run's images and network: the requested number, otherwise 1 if all data are gray, otherwise 3.

    Raises:
        ConfigError: 1 channel, and a setting that only colors have.
    """
    channels = config.channels or (1 if all(map(_is_gray, config.data)) else 3)
    if channels == 1:
        for option, value in (("gray", config.gray), ("jitter", config.jitter)):
            if value:
                raise ConfigError(f"{option} is {value}: gray images have no colors, 0 is needed (or 3 channels)")
    return channels


def _is_gray(source: str) -> bool:
    """Whether a data set, or every picture of a folder, is stored in gray. Only the headers of pictures are read."""
    if source in DATASETS:
        return DATASETS[source].channels == 1
    from PIL import Image as PillowImage

    def gray(path: Path) -> bool:
        try:
            with warnings.catch_warnings(action="ignore"), PillowImage.open(path) as picture:
                return picture.mode in GRAY_MODES
        except Exception:  # its plugins raise whatever their libraries do
            return read_rgb(path) is None  # it will be left out; what only OpenCV reads counts as color

    paths = _images_below(Path(source))
    return bool(paths) and all(map(gray, paths))


def _images_below(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def load(config: TrainConfig) -> Split:
    """Load everything that `config.data` names, always split in the same way, with `channels_of` channels.

    Raises:
        ConfigError: as `channels_of`.
        DataError: a name given twice, a folder without usable images, or a failed download; a DataNotFoundError where
            a name is neither a data set nor a folder.
    """
    for source in config.data:
        if config.data.count(source) > 1:
            raise DataError(f"data {source!r} is given twice: once is enough")
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
            raise DataNotFoundError(
                f"data {source!r} is neither a folder nor a data set: choose {', '.join(DATASETS)}, or a folder of "
                "images"
            )
    return split


def _add_data_set(split: Split, name: str, data_dir: Path, channels: int) -> None:
    """Add a data set by name; if it has a test part, a tenth of the rest is held out."""
    images, test = ([with_channels(image, channels) for image in part] for part in DATASETS[name].load(data_dir))
    if not test:
        _hold_out(split, images)
        return
    order = seeds.rng(0, seeds.SPLIT).permutation(len(images))
    held_out = len(images) // 10
    split.validation += [images[i] for i in order[:held_out]]
    split.train += [images[i] for i in order[held_out:]]
    split.test += test
    split.test_of = f"{split.test_of} + {name}" if split.test_of else name


def with_channels(image: Image, channels: int) -> Image:
    """Convert an image H x W x C to a number of channels: color to luminance (ITU-R BT.601), gray by repetition."""
    if image.shape[2] == channels:
        return image
    code = cv2.COLOR_RGB2GRAY if channels == 1 else cv2.COLOR_GRAY2RGB
    return cv2.cvtColor(image, code).reshape(*image.shape[:2], channels).astype(np.uint8, copy=False)


def _add_folder(
    split: Split, folder: Path, seed: int, memory: int, known: set[Path], scales: Sequence[float], channels: int
) -> None:
    memory = int(memory / sum(scale**2 for scale in scales))
    found = _images_below(folder)
    paths = [path for path in found if path.resolve() not in known]  # none in two parts of the split
    known.update(path.resolve() for path in paths)
    if found and not paths:
        raise DataError(f"data {str(folder)!r} has only images that other data have: leave it out")
    if len(found) > len(paths):
        split.notes.append(f"{folder}: left out {counted(len(found) - len(paths), 'image')} that other data have")
    if not paths:
        raise DataError(f"data {str(folder)!r} has no images: {', '.join(sorted(IMAGE_SUFFIXES))} are looked for")
    rng = seeds.rng(seed, seeds.WINDOWS)
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
            split.notes.append(
                f"{folder}: left out {len(names)} of {counted(len(paths), 'image')}, {why} ({names[0]}, ...)"
            )
    if crowded:
        split.notes.append(f"{folder}: only a part of each large photograph is used, all exceed {memory >> 20} MiB")
    if len(images) < 2:
        why = "".join(f"; {note.partition(': ')[2]}" for note in split.notes[-2:])
        raise DataError(
            f"data {str(folder)!r} has {counted(len(images), 'usable image')}: 2 are needed, one is held out{why}"
        )
    _hold_out(split, images, scales)


def _hold_out(split: Split, images: Sequence[Image], scales: Sequence[float] = (1.0,)) -> None:
    """Share `images` out between the two parts; those for training get copies of the further scales."""
    order = seeds.rng(0, seeds.SPLIT).permutation(len(images))
    held_out = min(max(1, round(len(images) * HELD_OUT_SHARE)), HELD_OUT_IMAGES)
    split.validation += [images[i] for i in order[:held_out]]
    copies = (smaller(images[i], scale) for i in order[held_out:] for scale in scales)
    split.train += [image for image in copies if min(image.shape[:2]) >= PATCH]


def read_rgb(path: Path) -> Image | None:
    """A photograph as uint8 H x W x 3, RGB, upright according to its EXIF; None if it cannot be decoded."""
    try:
        data = path.read_bytes()
        if not data or _is_cut_png(data):
            return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _is_cut_png(data: bytes) -> bool:
    """Whether a chunk of a PNG ends beyond the file: OpenCV would take as much memory as it announces, up to 4 GiB."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    at = 8
    while at + 8 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at > len(data)


def _window(image: Image, pixels: int, rng: np.random.Generator) -> Image:
    """A random window of about `pixels` pixels with the image's own aspect; a smaller image as it is."""
    height, width = image.shape[:2]
    if height * width <= pixels:
        return image
    scale = max((pixels / (height * width)) ** 0.5, PATCH / min(height, width))
    h, w = max(PATCH, int(height * scale)), max(PATCH, int(width * scale))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return image[y : y + h, x : x + w].copy()
