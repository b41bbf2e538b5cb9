"""Reads tensor files from untrusted sources: never runs code in them, and limits their unpacked size."""

import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from cae_train.errors import CheckpointError, CheckpointNotFoundError

_ZIP = b"PK\x03\x04"  # that a zip archive begins with
_END_MAX = 2**16 + 22  # bytes at an archive's end that may say where its list of parts is
_OTHERS_MAX = 2**24  # bytes of a part that is no tensor
_LOCATOR, _LARGE_END = 20, 56  # bytes of what archives of more than 4 GiB, and those of torch, have besides


def read_tensors(path: Path, limit: int, kind: str, legacy: bool = False) -> Any:
    """What `torch.save` wrote: plain values and tensors, on the CPU.

    Args:
        path: the file.
        limit: bytes that it may have, and unpack to.
        kind: what it should be, for the message: "model.pt of cae-train".
        legacy: whether the format from before torch 1.6, which is no zip archive, will do.

    Raises:
        CheckpointError: no such file, one too large, damaged, or with other Python objects in it.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder, not a {kind}")
        if path.stat().st_size > limit:
            raise CheckpointError(f"{path} is larger than {limit >> 20} MiB, no {kind} is")
        if not path.is_file():
            raise CheckpointError(f"{path} is a pipe or a device, not a {kind}")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.start_dir != _directory_of(path):  # torch would unpack what another directory lists
                    raise CheckpointError(f"{path} is not a {kind}: its list of parts is damaged")
                others = (entry for entry in archive.infolist() if "/data/" not in entry.filename)
                if any(entry.file_size > _OTHERS_MAX for entry in others):  # torch makes copies of them
                    raise CheckpointError(
                        f"{path} is not a {kind}: a part besides its tensors has more than {_OTHERS_MAX >> 20} MiB"
                    )
                if sum(entry.file_size for entry in archive.infolist()) > limit:
                    raise CheckpointError(f"{path} unpacks to more than {limit >> 20} MiB, no {kind} does")
        elif (cut_off := _begins_as_zip(path)) or not legacy:
            why = ": it is cut off or damaged" if cut_off else ", which is a zip archive"
            raise CheckpointError(f"{path} is {'empty' if not path.stat().st_size else f'not a {kind}{why}'}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch remarks on old or odd files
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as e:
        raise CheckpointNotFoundError(f"{path} does not exist: name a {kind}") from e
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror or e}") from e
    except Exception as e:  # a damaged or hostile file can fail anywhere in the readers
        raise CheckpointError(f"{path} is not a {kind}: it is damaged or holds other Python objects") from e


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _directory_of(path: Path) -> int:
    """Return where torch looks for the list of a zip archive's parts; Python looks just before the archive's end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_MAX))
        end = file.read()
        at = end.rfind(b"PK\x05\x06")
        (start,) = struct.unpack_from("<I", end, at + 16)
        if at >= _LOCATOR and end[at - _LOCATOR : at - _LOCATOR + 4] == b"PK\x06\x07":
            file.seek(struct.unpack_from("<Q", end, at - _LOCATOR + 8)[0])
            (start,) = struct.unpack_from("<Q", file.read(_LARGE_END), 48)
    return int(start)
