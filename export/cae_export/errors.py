"""What can go wrong, in the user's terms; most are also a ValueError, a TypeError or a FileNotFoundError."""


class CaeExportError(Exception):
    """The base of every error that this package raises on purpose; its text is one line for the user."""


class UsageError(CaeExportError, ValueError):
    """A setting, a model file or data that cannot be used."""


class ArgumentTypeError(UsageError, TypeError):
    """An argument has the wrong type."""


class ModelNotFoundError(UsageError, FileNotFoundError):
    """There is no such `model.pt`."""


class RefusedError(CaeExportError):
    """The exported model failed its proof; no file is left under its final name."""
