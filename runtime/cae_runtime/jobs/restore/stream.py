"""Cleans a yuv4mpeg stream from stdin to stdout, frame by frame, as it arrives."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import BinaryIO

from cae_runtime.errors import ImageError, VideoError
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video import y4m
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_shared.text import counted

_log = logging.getLogger(__name__)

_AHEAD = 2  # frames that are read while one is cleaned
_MOMENT = 0.2  # seconds within which the thread that reads ends, unless it waits for bytes
_INTERLACED = (
    "stdin says that its frames are interlaced: they are cleaned as whole pictures. The filter bwdif of ffmpeg makes "
    "whole pictures of their fields"
)


def restore_stream(stream: BinaryIO, begin: bytes, restorer: Restorer, options: RestoreOptions) -> None:
    """Clean a stream; whole frames are written as soon as they are cleaned.

    Args:
        stream: stdin.
        begin: what was read of it already.
        restorer: what cleans.
        options: how; `strength` and `temporal` count.

    Raises:
        ImageError: the stream is damaged, cut off or in a format that is not read, or stdout cannot be written to.
        ModelError, ProviderError: see `Restorer`.
    """
    count = 0
    try:
        header = y4m.read_header(stream, begin)
        if header.interlaced:
            _log.info("note: %s", _INTERLACED)
        clean = frame_cleaner(restorer.for_frames(), options.strength, options.temporal)
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
    """Yield the frames while a thread reads the next ones; the thread may wait forever, so it is never joined."""
    done: SimpleQueue[tuple[bytes, y4m.Planes] | BaseException | None] = SimpleQueue()
    room, ended = Semaphore(_AHEAD), Event()

    def read() -> None:
        try:
            for frame in y4m.read_frames(stream, header):
                done.put(frame)
                room.acquire()
                if ended.is_set():
                    return
            done.put(None)
        except BaseException as e:  # is raised below
            done.put(e)

    reader = Thread(target=read, name="cae-read", daemon=True)
    reader.start()
    try:
        while (found := done.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
            room.release()
    finally:
        ended.set()
        room.release()
        reader.join(_MOMENT)
        if reader.is_alive() and isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.buffer is stream:
            sys.stdin.detach()  # Python would close it at the end, and abort since it is still read


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
