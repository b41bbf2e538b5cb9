"""MNIST and Fashion-MNIST in their IDX files, packed or not: found below a folder, or downloaded there.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (1998), http://yann.lecun.com/exdb/mnist/, whose
server refuses downloads nowadays, so PyTorch's mirror is used. Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel
Image Dataset for Benchmarking Machine Learning Algorithms" (arXiv:1708.07747, 2017).

A file has a magic number, the count, height and width (four bytes each, big-endian), then one byte per pixel. Both data
sets use the same names and sizes, so only a checksum of the content tells them apart. It is that of the unpacked
content, since unpacked files and those repacked by Debian are valid too. The labels are not needed.
"""

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_train.config import PATCH
from cae_train.download import fetched, reason
from cae_train.errors import DataError, DataNotFoundError

Images = NDArray[np.uint8]  # N x 32 x 32 x 1

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
COUNTS = {TRAIN: 60_000, TEST: 10_000}
MAGIC, SIDE, HEADER = 0x803, 28, struct.Struct(">4I")  # the magic says: bytes, of three dimensions
MARGIN = (PATCH - SIDE) // 2


@dataclass(frozen=True)
class Idx:
    """One of the data sets.

    Attributes:
        name: what `--data` calls it, and the folder that it is downloaded to.
        title: what people call it.
        url: the address that the packed files lie below.
        packed: MD5 of each packed file there.
        content: MD5 of each file unpacked.
        folders: further folders, below the data folder, that other programs leave it in.
    """

    name: str
    title: str
    url: str
    packed: dict[str, str]
    content: dict[str, str]
    folders: tuple[str, ...]

    def load(self, data_dir: Path) -> tuple[Images, Images]:
        """Training and test images, uint8 60000 x 32 x 32 x 1 and 10000 x 32 x 32 x 1: a black margin around 28x28.

        Looked for in `data_dir/NAME`, where the data set is downloaded to if it is nowhere, in the folders of other
        programs, and in `data_dir` itself.

        Raises:
            DataError: files that are damaged or of another data set, or a download that fails or has another checksum.
        """
        folder = self.find(data_dir) or self._download(data_dir)
        return self._read(folder, TRAIN), self._read(folder, TEST)

    def find(self, data_dir: Path) -> Path | None:
        """The folder of the files in or below `data_dir`, None if they do not exist."""
        folders = (*(data_dir / name for name in (self.name, *self.folders)), data_dir)
        return next((folder for folder in folders if _file(folder, TRAIN) is not None), None)

    def _read(self, folder: Path, name: str) -> Images:
        path = _file(folder, name)
        if path is None:
            raise DataNotFoundError(
                f"{self.title}: {folder} has {TRAIN} but neither {name} nor {name}.gz: fetch it too"
            )
        count = COUNTS[name]
        size = HEADER.size + count * SIDE * SIDE
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                content = file.read(size + 1)  # whatever a packed file would swell to
        except (OSError, EOFError, zlib.error) as e:
            raise DataError(f"{self.title}: {path} cannot be read: {reason(e)}: download it again") from e
        if len(content) != size or HEADER.unpack_from(content) != (MAGIC, count, SIDE, SIDE):
            raise DataError(
                f"{self.title}: {path} is not an IDX file of {count:,} images of {SIDE}x{SIDE}: download it again"
            )
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != self.content[name]:
            other = next((each for each in DATA_SETS if each.content[name] == found), None)
            if other is None:
                raise DataError(f"{self.title}: {path} is damaged or of another data set: its MD5 is {found} unpacked")
            raise DataError(
                f"{self.title}: {path} is of {other.title}: choose {other.name} as the data, or pass "
                f"the folder of {self.title}, data_dir='FOLDER'"
            )
        images = np.frombuffer(content, np.uint8, offset=HEADER.size).reshape(count, SIDE, SIDE, 1)
        return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))

    def _download(self, data_dir: Path) -> Path:
        folder = data_dir / self.name
        try:
            for name in (TEST, TRAIN):  # the one by which they are found comes last: both are there then
                fetched(f"{self.url}/{name}.gz", f"md5:{self.packed[name]}", folder)
        except (OSError, ValueError) as e:
            raise DataError(
                f"{self.title} is not below {data_dir} and could not be downloaded from {self.url}: {reason(e)}; "
                f"put {TRAIN} and {TEST} (or .gz) into {folder} or pass their folder, data_dir='FOLDER'"
            ) from e
        return folder


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


MNIST = Idx(
    "mnist",
    "MNIST",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    {TRAIN: "f68b3c2dcbeaaa9fbdd348bbdeb94873", TEST: "9fb629c4189551a2d022fa330f9573f3"},
    {TRAIN: "6bbc9ace898e44ae57da46a324031adb", TEST: "2646ac647ad5339dbf082846283269ea"},
    ("MNIST/raw",),
)
FASHION_MNIST = Idx(
    "fashion-mnist",
    "Fashion-MNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    {TRAIN: "8d4fb7e6c68d591d4c3dfef9ec88bf0d", TEST: "bef4ecab320f06d8554ea6380940ec79"},
    {TRAIN: "f4a8712d7a061bf5bd6d2ca38dc4d50a", TEST: "8181f5470baa50b63fa0f6fddb340f0a"},
    ("FashionMNIST/raw",),
)
DATA_SETS = (MNIST, FASHION_MNIST)
