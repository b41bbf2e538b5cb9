"""The errors of this package; most are also a ValueError, a TypeError or a FileNotFoundError."""


class CaeTrainError(Exception):
    """Base of all errors of this package; the text is one line for the user."""


class ConfigError(CaeTrainError, ValueError):
    """A setting that cannot be used."""


class ArgumentTypeError(ConfigError, TypeError):
    """An argument has the wrong type."""


class DataError(CaeTrainError, ValueError):
    """Data that are missing, damaged or empty."""


class DataNotFoundError(DataError, FileNotFoundError):
    """Neither a data set nor a folder or file has this name."""


class CheckpointError(CaeTrainError, ValueError):
    """A `model.pt` that cannot be read or written."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """The `model.pt` does not exist."""


class TrainingError(CaeTrainError):
    """A run failed after its start: it diverged, or its folder can no longer be written."""


class LostProcessError(TrainingError):
    """Another process of the run has ended; it has said why, if it could.

    Attributes:
        code: the exit code for a command.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
