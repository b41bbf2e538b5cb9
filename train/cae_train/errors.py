"""What can go wrong, in the user's terms. Caught only in `cli.py`."""


class CaeTrainError(Exception):
    """The base of every error that this package raises on purpose; its text is one line for the user."""


class ConfigError(CaeTrainError):
    """A setting that cannot be used."""


class DataError(CaeTrainError):
    """Data that are missing, damaged or empty."""


class CheckpointError(CaeTrainError):
    """A `model.pt` that cannot be read or written."""


class TrainingError(CaeTrainError):
    """A run that began and failed: it diverged, or its folder cannot be written any more."""
