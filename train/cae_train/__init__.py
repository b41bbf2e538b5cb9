"""Train convolutional autoencoders on noisy and clean 32x32 patches.

    from cae_train import TrainConfig, train
    train(TrainConfig(data=("photos",), degrade=("gaussian:0-55",)), "runs/train/mine")

Importing the package imports nothing heavy: names are resolved when they are first used.
"""

import os

from cae_shared.lazy_names import resolver

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported: otherwise it sends telemetry

TYPE_CHECKING = False  # importing typing would take longer than this whole module

if TYPE_CHECKING:
    from cae_train.checkpoint import LoadedModel, load_model
    from cae_train.config import Hardware, TrainConfig
    from cae_train.errors import (
        ArgumentTypeError,
        CaeTrainError,
        CheckpointError,
        CheckpointNotFoundError,
        ConfigError,
        DataError,
        DataNotFoundError,
        TrainingError,
    )
    from cae_train.training.loop import TrainResult, train

    __version__: str

__all__ = [
    "ArgumentTypeError",
    "CaeTrainError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "DataError",
    "DataNotFoundError",
    "Hardware",
    "LoadedModel",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "load_model",
    "train",
]

_HOME = {
    "ArgumentTypeError": "errors",
    "CaeTrainError": "errors",
    "CheckpointError": "errors",
    "CheckpointNotFoundError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "DataNotFoundError": "errors",
    "Hardware": "config",
    "LoadedModel": "checkpoint",
    "TrainConfig": "config",
    "TrainResult": "training.loop",
    "TrainingError": "errors",
    "load_model": "checkpoint",
    "train": "training.loop",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


if not TYPE_CHECKING:  # type checkers see only the names above
    __getattr__ = resolver(__name__, _HOME)
