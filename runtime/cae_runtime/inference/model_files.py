"""Finds model files: packaged ones by name, others by path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cae_runtime.arguments import checked_path
from cae_runtime.errors import ModelError, ModelNotFoundError
from cae_shared.text import shell_word

DEFAULT_MODEL: Final = "denoise"
FILLING_MODEL: Final = "fill"  # taken where holes are to be filled
TRAINED: Final = "model.pt"  # what a training writes
TRAINED_SUFFIXES: Final = frozenset({".pt", ".pth", ".ckpt"})
_NAMED: Final = 3  # models of a folder in a message
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
        why = f"is a folder{_inside(path)}" if folder else "is neither a file nor the name of a packaged model"
        wrong_file = ModelError if folder else ModelNotFoundError
    except OSError as e:  # the name is too long, or a parent folder is locked
        why, wrong_file = f"cannot be accessed: {e.strerror}", ModelError
    raise wrong_file(f"model {name!r} {why} (packaged models: {names})")


def _inside(folder: Path) -> str:
    """Name a model in a folder, or what `cae-export` makes one of; empty where there is neither."""
    models = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    if models:
        return f": name the model in it, {' or '.join(repr(str(path)) for path in models[:_NAMED])}"
    trained = folder / TRAINED
    return f": {how_to_export(trained)}, and name the file that this writes" if trained.is_file() else ""


def how_to_export(path: Path) -> str:
    """Return the command that makes a model of a trained one; of a run's `last.ckpt`, of the `model.pt` beside it."""
    if path.suffix != ".ckpt":
        return f"export it first: cae-export {shell_word(path)}"
    beside = path.with_name(TRAINED)
    what = "the state of a training, whose model is"
    if not beside.is_file():
        return f"it is {what} {TRAINED}: export that with cae-export"
    return f"it is {what} {TRAINED}: export that first: cae-export {shell_word(beside)}"


def refuse_large(path: Path, size: int) -> None:
    """Refuse a model of more than 256 MiB.

    Raises:
        ModelError: it is larger.
    """
    if size > MODEL_BYTES_MAX:
        limit = MODEL_BYTES_MAX // 2**20
        raise ModelError(f"model {str(path)!r} has {size / 2**20:.0f} MiB: the limit is {limit} MiB")


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        ModelError: it cannot be read, or is larger than 256 MiB.
    """
    try:
        refuse_large(path, path.stat().st_size)
        return path.read_bytes()
    except OSError as e:
        raise ModelError(f"model {str(path)!r} cannot be read: {e.strerror}") from e
