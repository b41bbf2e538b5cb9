"""What can go wrong, in the user's terms; most are also a ValueError, a TypeError or a FileNotFoundError."""


class CaeTrainError(Exception):
    """The base of every error that this package raises on purpose; its text is one line for the user."""


class ConfigError(CaeTrainError, ValueError):
    """A setting that cannot be used."""


class ArgumentTypeError(ConfigError, TypeError):
    """An argument has the wrong type."""


class DataError(CaeTrainError, ValueError):
    """Data that are missing, damaged or empty."""


class CheckpointError(CaeTrainError, ValueError):
    """A `model.pt` that cannot be read or written."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such `model.pt`."""


class TrainingError(CaeTrainError):
    """A run that began and failed: it diverged, or its folder cannot be written any more."""
