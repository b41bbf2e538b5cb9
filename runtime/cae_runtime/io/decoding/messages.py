"""Reads OpenCV's messages on stderr about damage that its decoders repair without an error.

libjpeg fills missing data and libtiff leaves it black; both report this only on the process's stderr. If there is no
message, nothing is missing and a second decoding can be skipped.

In a program that uses the library, stderr is not this package's. It is only redirected there while a progressive JPEG
is decoded, and what was written meanwhile follows: the second decoding of such a file would always write a message.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, TypeVar, cast

import cv2
import numpy as np

from cae_runtime.io.formats import JPEG

Result = TypeVar("Result")

_ONE_AT_A_TIME: Final = threading.Lock()  # stderr is the process's
_LOG_LEVEL_ERROR: Final = 2  # OpenCV's, from which on it passes on what libtiff says; libjpeg writes on its own


def decoded_silently(work: Callable[[], Result], format: str) -> tuple[Result, bool]:
    """Decode; also return whether the decoder certainly wrote no message.

    What is written to stderr meanwhile is passed on to it afterwards.

    Args:
        work: the function that decodes.
        format: JPEG or TIFF.

    Returns:
        Its result, and False if it wrote something to stderr or this is unknown.
    """
    with _ONE_AT_A_TIME:
        heard = _hears(format)
        with contextlib.ExitStack() as opened:
            try:
                said = opened.enter_context(_stderr_into_file(pass_on=True)) if heard else io.BytesIO(b"not heard")
            except OSError:  # there is no stderr, no further file, no space
                said = io.BytesIO(b"not heard")
            result = work()
            return result, not said.seek(0, os.SEEK_END)


@contextlib.contextmanager
def _stderr_into_file(*, pass_on: bool) -> Iterator[BinaryIO]:
    """Redirect what C libraries write to stderr into a file; at the end it goes to stderr if `pass_on`."""
    with contextlib.ExitStack() as opened:
        file = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))
        kept = os.dup(2)
        opened.callback(os.close, kept)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(kept, 2)
            if pass_on:
                file.seek(0)
                with contextlib.suppress(OSError):
                    os.write(2, file.read())


def _hears(format: str) -> bool:
    """Return whether this build of OpenCV, with its current settings, reports damage on stderr."""
    passed_on = format == JPEG or cv2.utils.logging.getLogLevel() >= _LOG_LEVEL_ERROR
    try:
        return passed_on and _hears_of_damage(format)
    except (OSError, cv2.error):  # no further file, no space, no memory: now, but perhaps not later
        return False


@functools.cache
def _hears_of_damage(format: str) -> bool:
    """Decode an incomplete JPEG or TIFF; return whether its decoder reported it.

    Raises:
        OSError, cv2.error: it cannot be found out now.
    """
    squares = np.square(np.arange(48 * 48, dtype=np.uint32)).reshape(48, 48)
    image = (squares * 40503 >> 16).astype(np.uint8)  # as good as noise
    if format == JPEG:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
        first = data.index(b"\xff\xda")
        following = data.index(b"\xff\xc4", first)  # the tables of the second scan
        damaged = data[: (first + following) // 2] + data[following:]
    else:
        settings = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW]
        data = cv2.imencode(".tif", image, settings)[1].tobytes()
        damaged = data[:500] + bytes(500) + data[1000:]
    with _stderr_into_file(pass_on=False) as said:
        cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_UNCHANGED)
        return bool(said.seek(0, os.SEEK_END))
