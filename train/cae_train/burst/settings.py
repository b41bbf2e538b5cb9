"""The settings of a fit, and the clean photographs that it learns from."""

from pathlib import Path

from cae_train.burst.frames import Tell
from cae_train.burst.pairs import packaged_images
from cae_train.checkpoint import load_model, reading_setting
from cae_train.config import TrainConfig
from cae_train.data.images import Split, load
from cae_train.data.packaged import DENOISE
from cae_train.degradations.measured_noise import COLORS
from cae_train.errors import CheckpointError, ConfigError
from cae_train.models import options_of

EPOCHS, BATCH = 10, 64
LR = 1e-3
PACKAGED = "packaged"  # photographs that come with the package, in `TrainConfig.data`


def settings(start: str, given: dict[str, object]) -> TrainConfig:
    """The settings of a fit: the network of `start` (the packaged `denoise` if empty), with the given changes.

    Raises:
        ConfigError: an invalid setting, or no epochs.
        CheckpointError: it cannot be read.
    """
    if not isinstance(start, str):
        raise ConfigError(f"start is {start!r}: a path is needed")
    path = Path(start) if start else DENOISE
    with reading_setting("start"):
        loaded = load_model(path)
        if loaded.network.channels != COLORS:
            raise CheckpointError(f"{path} is for gray pictures: models for cameras work in color")
    usual: dict[str, object] = {
        "data": [PACKAGED], "arch": loaded.arch, "model": options_of(loaded.network),
        "channels": loaded.network.channels, "start": str(path), "loss": "mse", "lr": LR, "epochs": EPOCHS,
        "batch": BATCH, "jitter": 0.2,
    }  # fmt: skip
    config = TrainConfig.from_dict(usual | given)
    if not config.epochs:
        raise ConfigError("epochs is 0: 1 or more are needed")
    return config


def photographs(config: TrainConfig, tell: Tell) -> Split:
    """Clean photographs: of `config.data`, or those that come with the package.

    Raises:
        DataError: there are none.
    """
    if config.data == (PACKAGED,):
        return packaged_images(config.seed)
    found = load(config)
    for note in found.notes:
        tell(f"note: {note}")
    return found
