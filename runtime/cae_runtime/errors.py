"""What can go wrong, each with the exit code that `cae-run` gives it."""

from __future__ import annotations


class CaeRuntimeError(Exception):
    """Base of every error that this package raises on purpose; its text is one line for the user."""

    exit_code = 1


class ImageError(CaeRuntimeError):
    """One image cannot be read, processed or written; the others can."""


class VideoError(CaeRuntimeError):
    """One video cannot be read, processed or written; the others can."""


class UsageError(CaeRuntimeError):
    """An argument is wrong: an option's value, a missing path, an output that would overwrite a source."""

    exit_code = 2


class ModelError(CaeRuntimeError):
    """The model file cannot be used: missing, not ONNX, without our metadata, or made for another task."""

    exit_code = 2


class ProviderError(CaeRuntimeError):
    """The execution provider that was asked for is not there, or did not start."""

    exit_code = 3


class DeviceError(CaeRuntimeError):
    """A camera, a display or a virtual camera is not there, is busy, or stopped working."""

    exit_code = 3
