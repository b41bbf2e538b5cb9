"""Finds model files: packaged ones by name, others by path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cae_runtime.arguments import checked_path
from cae_runtime.errors import ModelError, ModelNotFoundError

DEFAULT_MODEL: Final = "denoise"
FILLING_MODEL: Final = "fill"  # taken where holes are to be filled
MODEL_BYTES_MAX: Final = 256 * 2**20
_MODELS: Final = Path(__file__).parents[1] / "models"


def packaged_models() -> dict[str, Path]:
    """Return the packaged models, name -> file: first those that clean, then `fill`, and the textbook's `cae`."""
    names = {path.stem: path for path in _MODELS.glob("*.onnx")}
    return {name: names[name] for name in sorted(names, key=_rank)}


def _rank(name: str) -> tuple[bool, bool, str]:
    return not name.startswith(DEFAULT_MODEL), not name.startswith(FILLING_MODEL), name


def find_model(model: str | os.PathLike[str]) -> Path:
    """Resolve a packaged model's name or a path to a file.

    Raises:
        ModelError: it is neither.
        UsageError: it is empty, or not a path (then also a TypeError).
    """
    packaged = packaged_models()
    names = ", ".join(packaged) or "none in this installation"
    name = str(checked_path("model", model, f"a file's path, or the name of a packaged model: {names}"))
    if name in packaged:
        return packaged[name]
    path = Path(name)
    try:
        if path.is_file():
            return path
        folder = path.is_dir()
        why = "is a folder" if folder else "is neither a file nor the name of a packaged model"
        wrong_file = ModelError if folder else ModelNotFoundError
    except OSError as e:  # the name is too long, or a parent folder is locked
        why, wrong_file = f"cannot be accessed: {e.strerror}", ModelError
    raise wrong_file(f"model {name!r} {why} (packaged models: {names})")


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        ModelError: it cannot be read, or is larger than 256 MiB.
    """
    try:
        size = path.stat().st_size
        if size > MODEL_BYTES_MAX:
            limit = MODEL_BYTES_MAX // 2**20
            raise ModelError(f"model {str(path)!r} has {size / 2**20:.0f} MiB: the limit is {limit} MiB")
        return path.read_bytes()
    except OSError as e:
        raise ModelError(f"model {str(path)!r} cannot be read: {e.strerror}") from e
