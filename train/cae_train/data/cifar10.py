"""CIFAR-10 in its binary layout: found below a folder, or downloaded there.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Six files of 10,000 records: a label byte,
then 3072 bytes, the R, G and B planes of a 32x32 image.
"""

import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_shared.temporary import whole_file
from cae_train.download import fetched, reason
from cae_train.errors import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FOLDER = "cifar-10-batches-bin"
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
RECORDS, RECORD_BYTES = 10_000, 3073


def load_cifar10(data_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training and test images, uint8 50000 x 32 x 32 x 3 and 10000 x 32 x 32 x 3, RGB.

    Looked for in `data_dir` and in `data_dir/cifar-10-batches-bin`; downloaded to the latter if in neither.

    Raises:
        DataError: files of the wrong size, or a download that fails or has another checksum.
    """
    folder = find_cifar10(data_dir) or _download(data_dir)
    images = [_read(folder / name) for name in FILES]
    return np.concatenate(images[:-1]), images[-1]


def find_cifar10(data_dir: Path) -> Path | None:
    """The folder of the six files in or below `data_dir`, None if they do not exist."""
    return next((f for f in (data_dir, data_dir / FOLDER) if (f / FILES[0]).is_file()), None)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        records = np.fromfile(path, np.uint8)
    except OSError as e:
        raise DataError(f"CIFAR-10: {path} cannot be read: {e.strerror or e}") from e
    if records.size != RECORDS * RECORD_BYTES:
        raise DataError(f"CIFAR-10: {path} has {records.size} bytes, not {RECORDS * RECORD_BYTES}: download it again")
    planes = records.reshape(RECORDS, RECORD_BYTES)[:, 1:].reshape(RECORDS, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _download(data_dir: Path) -> Path:
    """Fetch the archive with a checksum and a progress bar, and unpack its six files, named and sized as expected."""
    try:
        archive = fetched(URL, f"md5:{MD5}", data_dir)
        folder = data_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in reversed(FILES):  # the first, by which they are found, comes last: all are there then
                member = tar.extractfile(f"{FOLDER}/{name}")
                if member is None:
                    raise DataError(f"CIFAR-10: {archive} has no file {name}")
                with whole_file(folder / name) as partial:
                    partial.write_bytes(member.read(RECORDS * RECORD_BYTES + 1))
    except DataError:  # a ValueError too
        raise
    except (OSError, ValueError, KeyError, EOFError, tarfile.TarError) as e:
        raise DataError(
            f"CIFAR-10 is not below {data_dir} and could not be downloaded from {URL}: {reason(e)}; "
            f"put the unpacked {FOLDER} there, or pass its folder, data_dir='FOLDER'"
        ) from e
    return folder
