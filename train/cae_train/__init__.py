"""Train convolutional autoencoders on noisy and clean 32x32 patches.

    from cae_train import TrainConfig, train
    train(TrainConfig(data=("photos",), degrade=("gaussian:0-55",)), Path("runs/train/mine"))

Importing the package imports nothing heavy: names are resolved when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cae_train.checkpoint import LoadedModel, load_model
    from cae_train.config import Hardware, TrainConfig
    from cae_train.errors import CaeTrainError, CheckpointError, ConfigError, DataError, TrainingError
    from cae_train.loop import TrainResult, train

__all__ = [
    "CaeTrainError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Hardware",
    "LoadedModel",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "load_model",
    "train",
]

_HOME = {
    "checkpoint": ("LoadedModel", "load_model"),
    "config": ("Hardware", "TrainConfig"),
    "errors": ("CaeTrainError", "CheckpointError", "ConfigError", "DataError", "TrainingError"),
    "loop": ("TrainResult", "train"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
