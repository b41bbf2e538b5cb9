"""Restores one image from stdin, to stdout, or both, or a yuv4mpeg stream; messages go to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import Final

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.inference.session import Session
from cae_runtime.io.encoding import WITH_QUALITY, WITHOUT_QUALITY
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, PIPE, is_video, same_format
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.image_files import read_file, read_stream, write_file
from cae_runtime.jobs.paths import path_kind, prepare_output
from cae_runtime.jobs.progress import Progress
from cae_runtime.jobs.restore.images import Cleaned, clean_bytes
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.restore_files import restorer_of
from cae_runtime.jobs.restore.results import NOT_CLEANED, reason_of
from cae_runtime.jobs.restore.stream import restore_stream
from cae_runtime.places.address import Place, place_of
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.y4m import MAGIC

_log = logging.getLogger(__name__)

_PIPE: Final = Path(PIPE)


def restore_pipe(
    open_session: Callable[[], Session],
    source: Place,
    output: str,
    options: RestoreOptions,
) -> None:
    """Restore one image, or the frames of a yuv4mpeg stream from stdin to stdout.

    Args:
        open_session: opens the model, once it is known that there is something to do.
        source: a file or address, or `-` for stdin.
        output: a file or address, or `-` for stdout.
        options: how.

    Raises:
        UsageError: the two are no image's names, or a stream is closed.
        ImageError: the image cannot be read, restored or written.
        ModelError, ProviderError: see `Session` and `Restorer`.
    """
    target = None if output == PIPE else place_of(output, "output")
    format = _checked_format(output, target, options.ext, source)
    if target is not None and path_kind(target, "output") == "file" and not options.overwrite:
        _log.info("skipped: %r exists (overwrite=True replaces it)", str(target))
        return
    if source == _PIPE and sys.stdin is None:
        raise UsageError("SOURCE is -, but stdin is closed: give it a file or the output of a program")
    if source != _PIPE and path_kind(source, "source") != "file":
        raise UsageError(f"source {str(source)!r} is not a file")
    restorer = restorer_of(open_session(), options)
    if target is not None:
        prepare_output(target.parent)
    for line in restorer.remarks:
        _log.info("%s", line)
    begin = b""
    if source == _PIPE:
        begin = sys.stdin.buffer.read(len(MAGIC))
        if begin == MAGIC:
            if target is not None or options.ext:
                raise UsageError("stdin is a yuv4mpeg stream: it goes to stdout, and becomes no image")
            restore_stream(sys.stdin.buffer, begin, restorer, options)
            return
    cleaned = _cleaned(restorer, source, begin, target, format, options)
    if target is None:
        write_to_stdout(cleaned.data)
    if options.quality is not None and inspect(cleaned.data).format not in WITH_QUALITY:
        _log.info(WITHOUT_QUALITY)
    name = _name(source)
    if cleaned.dropped:
        _log.info("not kept from %s: %s", name, ", ".join(cleaned.dropped))
    for note in cleaned.notes:
        _log.info("note: %s: %s", name, note.text)


def _checked_format(output: str, target: Place | None, ext: str | None, source: Place) -> str | None:
    """Return the format to write; None keeps the source's.

    Raises:
        UsageError: the source or the output does not have the name of an image, or stdout cannot take one.
    """
    if is_video(source) or is_video(PurePath(output)):
        raise UsageError(
            "- is for images, and for yuv4mpeg streams from stdin to stdout: other videos are read from and written to "
            "files"
        )
    if target is None:
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("output '-': there is no file or program behind stdout to write the image to")
        return FORMAT_OF_SUFFIX[ext] if ext else None
    suffix = target.suffix.lower()
    agrees = ext is None or same_format(ext, target.suffix)
    is_folder = path_kind(target, "output") == "folder" or output.endswith(("/", os.sep))
    if is_folder or suffix not in FORMAT_OF_SUFFIX or not agrees:
        raise UsageError(
            f"output {str(target)!r}: an image from stdin goes to stdout (-), or to a file whose name decides its "
            "format"
        )
    return FORMAT_OF_SUFFIX[suffix]


def _cleaned(
    restorer: Restorer, source: Place, begin: bytes, target: Place | None, format: str | None, options: RestoreOptions
) -> Cleaned:
    """Read and clean the image, and write it where the output is a file."""
    try:
        data = begin + read_stream(sys.stdin.buffer) if source == _PIPE else read_file(source)
        with Progress(1) as shown:
            part = partial(shown.on_part, Path("stdin") if source == _PIPE else source)
            cleaned = clean_bytes(restorer, data, options, format=format, progress=part)
        if target is not None:
            write_file(target, cleaned.data)
    except (ImageError, MemoryError) as e:
        raise ImageError(f"{_name(source)} {reason_of(e) if isinstance(e, ImageError) else NOT_CLEANED}") from e
    return cleaned


def write_to_stdout(data: bytes) -> None:
    """Write a file to stdout.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:  # a failed write is not repeated
            stream.write(data)
    except OSError as e:
        raise ImageError(f"output '-' cannot be written to: {e.strerror}") from e


def _name(source: Place) -> str:
    return "stdin" if source == _PIPE else repr(str(source))
