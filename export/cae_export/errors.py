"""What can go wrong, in the user's terms. Caught only in `cli.py`."""


class CaeExportError(Exception):
    """The base of every error that this package raises on purpose; its text is one line for the user."""


class UsageError(CaeExportError):
    """A setting, a model file or data that cannot be used."""


class RefusedError(CaeExportError):
    """The exported model failed its proof; no file is left under its final name."""
