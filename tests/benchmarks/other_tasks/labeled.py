"""CIFAR-10 and Fashion-MNIST with their labels, as 32x32 patches."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_train.data.registry import DATASETS

Images = NDArray[np.uint8]  # N x 32 x 32 x C
Labels = NDArray[np.uint8]
NAMES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion-mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
}  # fmt: skip


def labeled(name: str, data_dir: Path) -> tuple[Images, Labels, Images, Labels]:
    """Images and labels for training, images and labels for testing."""
    train, test = (np.stack(list(part)) for part in DATASETS[name].load(data_dir))
    find = DATASETS[name].find
    folder = find(data_dir) if find else None
    assert folder is not None
    if name == "cifar10":
        numbers = [_cifar(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
        return train, np.concatenate(numbers), test, _cifar(folder / "test_batch.bin")
    return train, _idx(folder, "train-labels-idx1-ubyte"), test, _idx(folder, "t10k-labels-idx1-ubyte")


def _cifar(path: Path) -> Labels:
    return np.fromfile(path, np.uint8).reshape(-1, 3073)[:, 0]


def _idx(folder: Path, name: str) -> Labels:
    packed, plain = folder / f"{name}.gz", folder / name
    data = gzip.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()
    return np.frombuffer(data, np.uint8, offset=8)
