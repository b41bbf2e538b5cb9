"""The errors of this package, each with the exit code of `cae-run`.

Each is also an error that Python users expect: a ValueError, a TypeError, or a FileNotFoundError.
"""

from __future__ import annotations

NO_MEMORY = "there is not enough memory"  # the end of messages


class CaeRuntimeError(Exception):
    """Base of all errors of this package; the text is one line for the user."""

    exit_code = 1


class ImageError(CaeRuntimeError, ValueError):
    """One image cannot be read, processed or written; the others can."""


class ImageTypeError(ImageError, TypeError):
    """An image is not a NumPy array, or has an unsupported dtype."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """The file does not exist."""


class ImageFormatError(ImageError):
    """The format of the output cannot hold the image.

    Attributes:
        other: suffix of a format that can, such as `.png`.
    """

    def __init__(self, reason: str, other: str = ".png") -> None:
        super().__init__(reason)
        self.other = other


class VideoError(CaeRuntimeError):
    """One video cannot be read, processed or written; the others can."""


class VideoFormatError(VideoError):
    """The format of the output cannot hold the video.

    Attributes:
        other: suffix of a format that can, such as `.mkv`.
    """

    def __init__(self, reason: str, other: str = ".mkv") -> None:
        super().__init__(reason)
        self.other = other


class VideoNotFoundError(VideoError, FileNotFoundError):
    """The file does not exist."""


class UsageError(CaeRuntimeError, ValueError):
    """An argument is wrong: an option's value, a missing path, an output that would overwrite a source."""

    exit_code = 2


class RanOutError(UsageError):
    """Disk space or open files ran out before the work began."""

    exit_code = 1


class ArgumentTypeError(UsageError, TypeError):
    """An argument has the wrong type."""


class MissingExtraError(UsageError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""


class ModelError(CaeRuntimeError, ValueError):
    """The model file cannot be used: missing, not ONNX, without CAE Toolkit metadata, or made for another task."""

    exit_code = 2


class ModelNotFoundError(ModelError, FileNotFoundError):
    """Neither a file nor a packaged model has this name."""


class ProviderError(CaeRuntimeError):
    """The requested execution provider is not available or did not start."""

    exit_code = 3


class DeviceError(CaeRuntimeError):
    """A camera, display or virtual camera is missing, busy, or stopped working."""

    exit_code = 3


class ClusterError(CaeRuntimeError):
    """A cluster cannot be reached, or its nodes cannot do the work."""

    exit_code = 3
