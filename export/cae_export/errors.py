"""The errors of this package; most are also a ValueError, a TypeError or a FileNotFoundError."""


class CaeExportError(Exception):
    """Base of all errors of this package; the text is one line for the user."""


class UsageError(CaeExportError, ValueError):
    """A setting, a model file or data that cannot be used."""


class ArgumentTypeError(UsageError, TypeError):
    """An argument has the wrong type."""


class ModelNotFoundError(UsageError, FileNotFoundError):
    """The `model.pt` does not exist."""


class OutputExistsError(UsageError, FileExistsError):
    """The output exists, and may not be replaced."""


class RanOutError(CaeExportError):
    """Disk space or open files ran out; no file is left under its final name."""


class RefusedError(CaeExportError):
    """The exported model failed its proof; no file is left under its final name."""
