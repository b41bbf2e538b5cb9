"""What can go wrong, each with the exit code that `cae-run` gives it.

Each error is also what a Python user would catch: a ValueError, a TypeError, or a FileNotFoundError.
"""

from __future__ import annotations


class CaeRuntimeError(Exception):
    """Base of every error that this package raises on purpose; its text is one line for the user."""

    exit_code = 1


class ImageError(CaeRuntimeError, ValueError):
    """One image cannot be read, processed or written; the others can."""


class ImageTypeError(ImageError, TypeError):
    """What should be an image is no NumPy array, or one of another dtype."""


class VideoError(CaeRuntimeError):
    """One video cannot be read, processed or written; the others can."""


class VideoNotFoundError(VideoError, FileNotFoundError):
    """There is no file of that name."""


class UsageError(CaeRuntimeError, ValueError):
    """An argument is wrong: an option's value, a missing path, an output that would overwrite a source."""

    exit_code = 2


class ArgumentTypeError(UsageError, TypeError):
    """An argument has a type that does not go with it."""


class MissingExtraError(UsageError, ImportError):
    """An optional package is not installed; the message has the line that installs it."""


class ModelError(CaeRuntimeError, ValueError):
    """The model file cannot be used: missing, not ONNX, without our metadata, or made for another task."""

    exit_code = 2


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is neither a file nor a packaged model of that name."""


class ProviderError(CaeRuntimeError):
    """The execution provider that was asked for is not there, or did not start."""

    exit_code = 3


class DeviceError(CaeRuntimeError):
    """A camera, a display or a virtual camera is not there, is busy, or stopped working."""

    exit_code = 3
