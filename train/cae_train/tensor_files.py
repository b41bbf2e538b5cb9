"""Reads tensor files from untrusted sources: never runs code in them, and limits their unpacked size."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from cae_train.errors import CheckpointError, CheckpointNotFoundError

_ZIP = b"PK\x03\x04"  # that a zip archive begins with


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
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > limit:
                    raise CheckpointError(f"{path} unpacks to more than {limit >> 20} MiB, no {kind} does")
        elif not legacy:
            with path.open("rb") as file:
                cut_off = file.read(len(_ZIP)) == _ZIP
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
