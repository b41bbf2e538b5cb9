"""The data sets by name. To add one, add a file that loads it and a line in `DATASETS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_train.data.cifar10 import find_cifar10, load_cifar10
from cae_train.data.mnist import FASHION_MNIST, MNIST, SIDE
from cae_train.data.patterns import load_patterns
from cae_train.data.swatches import load_swatches
from cae_train.data.synthetic import load_synthetic

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]  # each H x W x 3, RGB, or H x W x 1, gray


@dataclass(frozen=True)
class DataSet:
    """A data set that has a name.

    Attributes:
        load: from `--data-dir` to the images for training, and those of its own test part (none: some of the former
            are held out); it downloads what is not there.
        find: from `--data-dir` to the folder where its files are, None where they are not; no function for a data set
            that needs no files.
        channels: of its images, 3 (RGB) or 1 (gray).
        upright: whether its images have one orientation, which belongs to what they show: they are neither flipped
            nor turned.
        summary: one line for people.
        framed: side in pixels of its images, if these lie in the middle of black patches.
    """

    load: Callable[[Path], tuple[Images, Images]]
    find: Callable[[Path], Path | None] | None
    channels: int
    summary: str
    upright: bool = False
    framed: int | None = None

    def is_here(self, data_dir: Path) -> bool:
        """Whether it can be loaded without a download."""
        return self.find is None or self.find(data_dir) is not None


DATASETS: dict[str, DataSet] = {
    "cifar10": DataSet(load_cifar10, find_cifar10, 3, "CIFAR-10: 60,000 small photographs, 32x32, color"),
    "mnist": DataSet(
        MNIST.load, MNIST.find, 1, "MNIST: 70,000 handwritten digits, 28x28 in a black margin, gray", True, SIDE
    ),
    "fashion-mnist": DataSet(
        FASHION_MNIST.load,
        FASHION_MNIST.find,
        1,
        "Fashion-MNIST: 70,000 pieces of clothing, 28x28 in a black margin, gray",
        True,
        SIDE,
    ),
    "patterns": DataSet(
        lambda _data_dir: (load_patterns(), ()), None, 3, "drawn meshes, weaves, gratings and dithering, 256x256, color"
    ),
    "swatches": DataSet(
        lambda _data_dir: (load_swatches(), ()), None, 3, "drawn charts of flat colors, 256x256, color"
    ),
    "synthetic": DataSet(
        lambda _data_dir: (load_synthetic(), ()), None, 3, "synthetic shapes, text and line art, 256x256, color"
    ),
}


def framed_side(data: Sequence[str]) -> int | None:
    """The side of the images of all these data if they are framed alike, in pixels; None if not."""
    sides = {DATASETS[name].framed if name in DATASETS else None for name in data}
    return sides.pop() if len(sides) == 1 else None
