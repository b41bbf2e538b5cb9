"""Argument checks that all public classes and functions share."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from cae_runtime.errors import ArgumentTypeError, ImageError, ImageTypeError, UsageError
from cae_runtime.places.address import Address, Place, place_of
from cae_shared import paths

Progress = Callable[[int, int], object]
"""Called with the amount of work that is done, and the total amount. An exception from it ends the call."""

COLORS: Final = ("bgr", "rgb")
_SHOWN_MAX: Final = 100  # characters of a value that an error message shows


def checked_path(name: str, value: Any, wanted: str = "the path of a file") -> Path:
    """Return a path that was given as `str` or `os.PathLike`.

    Args:
        name: the argument's name, for the message.
        value: what was passed.
        wanted: what it must be, for the message.

    Raises:
        ArgumentTypeError: it has another type.
        UsageError: it is empty.
    """
    return paths.checked_path(name, value, wrong_type=ArgumentTypeError, empty=UsageError, wanted=wanted)


def checked_place(name: str, value: Any, wanted: str = "the path or address of a file") -> Place:
    """Return a path, or an address such as `s3://bucket/photo.jpg`; for the arguments see `checked_path`.

    Raises:
        ArgumentTypeError: it has another type.
        UsageError: it is empty, or an address of another kind.
        MissingExtraError: it is an address, and the extra `cloud` is not installed.
    """
    if not isinstance(value, Address):
        path = checked_path(name, value, wanted)
        if not isinstance(value, str):
            return path
        value = place_of(value, name)
    if isinstance(value, Address):
        from cae_runtime.places.store import check_extra

        check_extra(value)
    place: Place = value
    return place


def checked_whole(name: str, value: Any, low: int, high: int | None = None, unless: str = "") -> int:
    """Return a whole number in a range, `low` to `high` or to any size.

    Args:
        name: the argument's name, for the message.
        value: what was passed; NumPy integers count too.
        low: the smallest allowed value.
        high: the largest allowed value; None: no limit.
        unless: what else the argument may be, for the message, such as `None for all CPUs`.

    Raises:
        ArgumentTypeError: it is not a whole number.
        UsageError: it is outside the range.
    """
    wanted = f"{low} or more" if high is None else f"{low}..{high}"
    other = f", or {unless}" if unless else ""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f"{name} is {_shown(value)}: it must be a whole number, {wanted}{other}") from None
    if number < low or (high is not None and number > high):
        raise UsageError(f"{name} is {_shown(number)}: it must be {wanted}")
    return number


def checked_share(name: str, value: Any) -> float:
    """Return a number in 0..1.

    Args:
        name: the argument's name, for the message.
        value: what was passed.

    Raises:
        ArgumentTypeError: it is not a number.
        UsageError: it is outside the range, or NaN.
    """
    try:
        if isinstance(value, str | bytes | bytearray):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{name} is {_shown(value)}: it must be a number, 0..1") from None
    except OverflowError:
        raise UsageError(f"{name} is {_shown(value)}: it must be 0..1") from None
    if not 0 <= number <= 1:
        raise UsageError(f"{name} is {number}: it must be 0..1")
    return number


def checked_flag(name: str, value: Any) -> bool:
    """Return an argument that is True or False, or NumPy's equivalent.

    Raises:
        ArgumentTypeError: it has another type.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"{name} is {_shown(value)}: it must be True or False")
    return bool(value)


def check_function(name: str, value: Any) -> None:
    """Refuse anything but a function or None.

    Raises:
        ArgumentTypeError: it cannot be called.
    """
    if value is not None and not callable(value):
        raise ArgumentTypeError(f"{name} is {_shown(value)}: it must be a function, or None")


def checked_color(value: Any) -> bool:
    """Return whether channels come as BGR; `color` is `bgr` or `rgb`.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, str):
        raise ArgumentTypeError(f"color is {_shown(value)}: it must be 'bgr' or 'rgb'")
    if value not in COLORS:
        raise UsageError(f"color is {_shown(value)}: it must be 'bgr' or 'rgb'")
    return value == COLORS[0]


def check_image(image: Any) -> None:
    """Refuse anything but an image: uint8, uint16 or float32 in 0..1, shape (H, W), or (H, W, C) with C from 1 to 4.

    Raises:
        ImageTypeError: it is not a NumPy array, or has another dtype.
        ImageError: it has another shape, an axis of length 0, or float32 values that are NaN or outside 0..1.
    """
    if not isinstance(image, np.ndarray):
        hint = " (cv2.imread returns None for a file that it cannot read)" if image is None else ""
        raise ImageTypeError(f"the image is a {type(image).__name__}: it must be a NumPy array{hint}")
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageTypeError(f"the image's dtype is {image.dtype}: it must be uint8, uint16, or float32 in 0..1")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise ImageError(f"the image's shape is {image.shape}: it must be (H, W) or (H, W, 1..4), without a 0")
    if image.dtype == np.float32 and not (image.min() >= 0 and image.max() <= 1):  # NaN compares as False
        values = "NaN" if np.isnan(image).any() else f"{image.min():.4g}..{image.max():.4g}"
        raise ImageError(f"the image's values are {values}: a float32 image must be in 0..1, so clip or scale it")


def _shown(value: Any) -> str:
    """Return a value for an error message, as one line of limited length."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python does not print integers of more than 4300 digits
        return f"a number of {value.bit_length()} bits"
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
