"""Cleans many image files: one result for each, whatever happens to the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from cae_runtime.errors import ImageError, ProviderError, UsageError
from cae_runtime.formats import FORMAT_OF_SUFFIX
from cae_runtime.images import decode, encode, read_file, write_file
from cae_runtime.plan import Job, Unreadable, is_folder
from cae_runtime.restorer import Restorer

NO_MEMORY: Final = "cannot be cleaned: there is not enough memory"


@dataclass(frozen=True)
class FileResult:
    """What became of one image.

    Attributes:
        source: the file it came from; `-` is stdin.
        output: the file it went to; `-` is stdout, and empty is a folder that could not be read.
        status: `done`, `skipped` because the output was there, or `failed`.
        reason: why it was skipped or failed, else empty.
        seconds: time spent on it, with reading and writing.
        width: width of the image in pixels as stored, None where it was not decoded.
        height: height of the image in pixels as stored, None where it was not decoded.
        provider: full name of the onnxruntime provider.
        dropped: kinds of metadata that did not come along, such as `iptc`; see `cae_runtime.images.encode`.
    """

    source: str
    output: str
    status: Literal["done", "skipped", "failed"]
    reason: str
    seconds: float
    width: int | None
    height: int | None
    provider: str
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Cleaned:
    """An image file cleaned in memory: its bytes, stored size and the kinds of metadata that did not come along."""

    data: bytes
    width: int
    height: int
    dropped: tuple[str, ...]


def clean_bytes(
    restorer: Restorer,
    data: bytes,
    *,
    format: str | None = None,
    strength: float = 1.0,
    quality: int | None = None,
) -> Cleaned:
    """Clean an image file that is in memory.

    Args:
        restorer: what cleans.
        data: the whole file.
        format: format of the result, see `cae_runtime.formats`; None keeps that of `data`.
        strength: 0..1, see `Restorer`.
        quality: 1..100, see `cae_runtime.images.encode`.

    Returns:
        The cleaned file.

    Raises:
        ImageError: the data cannot be decoded or cleaned, or the result not encoded.
        ModelError: the model gives patches of another size than it takes.
        ProviderError: the provider failed while it ran.
    """
    picture = decode(data)
    height, width = picture.pixels.shape[:2]
    cleaned = replace(picture, pixels=restorer(picture.pixels, strength=strength))
    encoded, dropped = encode(cleaned, format or picture.format, quality)
    return Cleaned(encoded, width, height, dropped)


def clean_files(
    restorer: Restorer,
    jobs: Iterable[Job],
    *,
    strength: float = 1.0,
    quality: int | None = None,
    overwrite: bool = False,
) -> Iterator[FileResult]:
    """Clean image files one by one, and yield each result as it comes.

    Args:
        restorer: what cleans.
        jobs: the files, see `cae_runtime.plan.make_plan`.
        strength: 0..1, see `Restorer`.
        quality: 1..100, see `cae_runtime.images.encode`.
        overwrite: replace outputs that are there, instead of skipping them.

    Yields:
        One result a job, in order. An image that cannot be read, cleaned or written is `failed`, and leaves no file.

    Raises:
        ModelError: the model gives patches of another size than it takes, so that no image can be cleaned.
    """
    for job in jobs:
        start = time.perf_counter()
        result = FileResult(
            source=str(job.source),
            output=str(job.output),
            status="done",
            reason="",
            seconds=0.0,
            width=None,
            height=None,
            provider=restorer.provider,
            dropped=(),
        )
        try:
            try:
                folder = is_folder(job.output, "output")
            except UsageError as e:
                raise ImageError(f"cannot be written: {e}") from e
            if folder:
                raise ImageError("cannot be written: the output is a folder")
            if folder is not None and not overwrite:
                result = replace(result, status="skipped", reason="the output exists")
            else:
                cleaned = clean_bytes(
                    restorer,
                    read_file(job.source),
                    format=_format_of(job),
                    strength=strength,
                    quality=quality,
                )
                write_file(job.output, cleaned.data)
                result = replace(result, width=cleaned.width, height=cleaned.height, dropped=cleaned.dropped)
        except (ImageError, ProviderError) as e:
            result = replace(result, status="failed", reason=str(e))
        except MemoryError:
            result = replace(result, status="failed", reason=NO_MEMORY)
        yield replace(result, seconds=time.perf_counter() - start)


def unreadable_results(restorer: Restorer, unreadable: Iterable[Unreadable]) -> list[FileResult]:
    """Return a failure for each thing that could not be looked at while the work was planned."""
    return [
        FileResult(str(at.path), "", "failed", at.reason, 0.0, None, None, restorer.provider, ()) for at in unreadable
    ]


def _format_of(job: Job) -> str:
    suffix = job.output.suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise ImageError(f"has the suffix {suffix!r}, which names no format to write: choose one with --ext")
    return FORMAT_OF_SUFFIX[suffix]
