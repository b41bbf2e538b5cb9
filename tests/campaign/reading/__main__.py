"""Reads a file as the commands do, without what they do with it: `python -m tests.campaign.reading FILE`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cae_train.burst.frames import read_scenes
from cae_train.checkpoint import load_model, load_weights
from cae_train.config import TrainConfig, load_toml
from cae_train.data.images import IMAGE_SUFFIXES, channels_of, read_rgb
from cae_train.errors import CaeTrainError
from cae_train.stderr import quiet_decoders


def _tensors(path: Path) -> None:
    """Read a file as a model, and as weights if it is none."""
    try:
        load_model(path)
    except CaeTrainError as e:
        try:
            load_weights(path)
        except CaeTrainError:
            raise e from None


def _settings(path: Path) -> None:
    TrainConfig.from_dict(load_toml(path))


def _picture(path: Path) -> None:
    """Read a picture of a folder that has no other, and its header."""
    with quiet_decoders():
        read_rgb(path)
        channels_of(TrainConfig(data=(str(path.parent),)))


def _burst(path: Path) -> None:
    with quiet_decoders():
        read_scenes([str(path)], 3, lambda _: None)


_READERS: dict[str, Callable[[Path], None]] = {".pt": _tensors, ".toml": _settings}


def main() -> None:
    """Read the file; end with exit code 2 and a line if it is refused."""
    path = Path(sys.argv[1])
    read = _READERS.get(path.suffix, _picture if path.suffix in IMAGE_SUFFIXES else _burst)
    try:
        read(path)
    except CaeTrainError as e:
        sys.stderr.write(f"{str(e)[:4000]}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
