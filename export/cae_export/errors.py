"""The errors of this package, most also a ValueError, TypeError or FileNotFoundError; and checks of types."""

from numbers import Integral, Real


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


def require_number(name: str, value: object, *, whole: bool = False) -> None:
    """Refuse an option that is not a number, or not a whole one.

    Raises:
        ArgumentTypeError: it has another type.
    """
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ArgumentTypeError(f"{name} is {value!r}: a {'whole number' if whole else 'number'} is needed")


def require_flag(name: str, value: object) -> None:
    """Refuse an option that is neither True nor False.

    Raises:
        ArgumentTypeError: it has another type.
    """
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name} is {value!r}: True or False is needed")
