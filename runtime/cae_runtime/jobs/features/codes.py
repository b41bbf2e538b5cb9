"""Codes for a decoder: read from files, or interpolated between the codes of two pictures."""

from __future__ import annotations

import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ModelError, UsageError
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.opened_images import images_of, opened, tried
from cae_runtime.jobs.paths import path_kind
from cae_runtime.tasks.encode import Encoder

LATENT_BYTES_MAX: Final = 2**30
COUNT_MAX: Final = 100_000
STEPS: Final = 8
_DECODER, _ENCODER = "-decoder", "-encoder"


def read_codes(path: Path, code_shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the codes of a `.npy` file, or of a table of features that ends in `.npz`.

    The rows of a table are taken as codes where they have as many numbers: those of a `vae`, and rows per patch.

    Raises:
        UsageError: it cannot be read, is no such file, holds no numbers or none at all, or is larger than 1 GiB.
    """
    table = path.suffix.lower() == ".npz"
    try:
        _check_size(path.stat().st_size)
        codes = _of_table(path) if table else _of_array(path)
    except OSError as e:
        raise UsageError(f"it cannot be read: {e.strerror or e}") from e
    except UsageError:
        raise
    except Exception as e:  # NumPy's reader may raise anything on a damaged header
        what = "not a table of features" if table else "neither a .npy file of numbers nor a table that ends in .npz"
        raise UsageError(f"it is {what}") from e
    if codes.dtype.kind not in "fiu" or codes.ndim < 2 or not len(codes):
        raise UsageError(
            f"it holds {codes.dtype} of shape {codes.shape}: codes are real numbers, (N, ...) with N from 1 on"
        )
    if len(codes) > COUNT_MAX:
        raise UsageError(f"it has {len(codes)} codes: the limit is {COUNT_MAX}")
    numbers = math.prod(code_shape)
    if table and codes.shape[1:] != (numbers,):
        raise UsageError(
            f"its rows have {codes.shape[1]} numbers, and a code has {numbers}: take the table of the encoder of the "
            "same model, with a row for each patch if need be"
        )
    return codes.reshape(len(codes), *code_shape) if table else codes


def _of_array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return _array(file)


def _of_table(path: Path) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive, archive.open("features.npy") as member:
        _check_size(archive.getinfo("features.npy").file_size)  # it may be compressed
        return _array(member)


def _check_size(size: int) -> None:
    if size > LATENT_BYTES_MAX:
        raise UsageError(f"it is larger than {LATENT_BYTES_MAX} bytes, the limit")


def _array(file: IO[bytes]) -> NDArray[Any]:
    codes: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return codes


def encoder_beside(decoder: Session) -> Path:
    """Return the encoder that `cae-export` wrote beside a decoder: `model-encoder.onnx` beside `model-decoder.onnx`.

    Raises:
        UsageError: there is none.
    """
    path = decoder.path
    beside = path.with_name(f"{path.stem.removesuffix(_DECODER)}{_ENCODER}{path.suffix}")
    if not path.stem.endswith(_DECODER) or not beside.is_file():
        raise UsageError(
            f"between: the encoder of the same model as {decoder.name!r} is needed too, and {str(beside)!r} does not "
            "exist: write it with cae-export MODEL.pt --part encoder, or name its file as encoder='FILE.onnx'"
        )
    return beside


def open_encoder(path: Path, decoder: Session) -> Encoder:
    """Open the encoder that fits a decoder, on the same provider.

    Raises:
        ModelError: it is no encoder, or one of a model with other codes or patches.
        ProviderError: see `Session`.
    """
    encoder = Encoder(decoder.opened_alike(path))
    own, other = encoder.session, decoder
    for what, mine, wanted in (
        ("codes of shape", own.code_shape, other.code_shape),
        ("channels", own.spec.channels, other.spec.channels),
        ("patches of", own.spec.patch, other.spec.patch),
    ):
        if mine != wanted:
            raise ModelError(
                f"encoder {own.name!r} does not fit decoder {other.name!r}: it has {what} {mine}, not {wanted}"
            )
    return encoder


def code_of(encoder: Encoder, path: Path) -> tuple[Floats, NDArray[Any]]:
    """Return the code of a picture file, (1, *code_shape) float32, and its upright pixels.

    Raises:
        UsageError: it cannot be read, or is larger than a patch.
    """
    if path_kind(path, "picture") == "folder":
        raise UsageError(f"picture {str(path)!r} is a folder: name a file")
    plan = images_of([path], path.parent)
    (picture,) = opened(replace(plan, jobs=plan.jobs[:1]), "encoding")
    pixels, patch = picture.pixels, encoder.session.spec.patch
    if pixels is None:
        raise UsageError(f"picture {str(path)!r} {picture.reason}")
    if max(pixels.shape[:2]) > patch:
        raise UsageError(
            f"picture {str(path)!r} has {pixels.shape[1]}x{pixels.shape[0]} pixels: a code is that of one patch, so it "
            f"may have {patch}x{patch} at most"
        )
    found, reason = tried(lambda: encoder.patches(pixels)[1])
    if found is None:
        raise UsageError(f"picture {str(path)!r} {reason}")
    return found.reshape(1, *encoder.session.code_shape), pixels


def way(first: Floats, last: Floats, steps: int) -> Floats:
    """Return codes on the straight line from one to another, both included: (steps, *code_shape) float32."""
    shares = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, *[1] * (first.ndim - 1))
    codes: Floats = first + shares * (last - first)
    return codes
