"""Cleans a yuv4mpeg stream from stdin to stdout, frame by frame, as it arrives."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import BinaryIO

from cae_runtime.errors import ImageError, VideoError
from cae_runtime.io.pipeline import prefetch_map
from cae_runtime.jobs.restore import y4m
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_shared.text import counted

_log = logging.getLogger(__name__)

_AHEAD = 2  # frames that are read while one is cleaned


def restore_stream(stream: BinaryIO, begin: bytes, restorer: Restorer, options: RestoreOptions) -> None:
    """Clean a stream; whole frames are written as soon as they are cleaned.

    Args:
        stream: stdin.
        begin: what was read of it already.
        restorer: what cleans.
        options: how; `strength` and `temporal` count.

    Raises:
        ImageError: the stream is damaged, cut off or of a kind that is not read, or stdout cannot be written to.
        ModelError, ProviderError: as `Restorer` raises them.
    """
    count = 0
    try:
        header = y4m.read_header(stream, begin)
        clean = frame_cleaner(restorer, options.strength, options.temporal)
        with _stdout() as target:
            target.write(header.line)
            for line, planes in _read_ahead(stream, header):
                before = y4m.to_bgr(planes, header)
                y4m.write_frame(target, line, y4m.changed(planes, header, before, clean(before)))
                target.flush()
                count += 1
    except VideoError as e:
        done = f" ({counted(count, 'frame')} before that {'was' if count == 1 else 'were'} cleaned)" if count else ""
        raise ImageError(f"stdin {e}{done}") from e
    _log.info("cleaned %s of %sx%s pixels", counted(count, "frame"), header.width, header.height)


def _read_ahead(stream: BinaryIO, header: y4m.Y4mHeader) -> Iterator[tuple[bytes, y4m.Planes]]:
    """Yield the frames while a thread reads the next ones."""
    frames = y4m.read_frames(stream, header)
    with (
        ThreadPoolExecutor(1, "cae-read") as reader,
        contextlib.closing(prefetch_map(reader, lambda _: next(frames, None), repeat(None), _AHEAD)) as read,
    ):
        yield from iter(lambda: next(read), None)


@contextlib.contextmanager
def _stdout() -> Iterator[BinaryIO]:
    """Yield stdout as a stream of bytes.

    Raises:
        ImageError: it cannot be written to.
    """
    try:
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
            yield stream
    except OSError as e:
        raise ImageError(f"output '-' cannot be written to: {e.strerror}") from e
