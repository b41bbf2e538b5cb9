"""The results of files: what became of each, why it failed, and whether its output exists already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from cae_runtime.errors import NO_MEMORY, ImageError, ImageFormatError, UsageError, VideoFormatError
from cae_runtime.jobs.paths import path_kind
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.walking import Unreadable
from cae_runtime.places.address import Address
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer

NOT_CLEANED: Final = f"cannot be cleaned: {NO_MEMORY}"


@dataclass(frozen=True)
class FileResult:
    """The result of one image or video.

    Attributes:
        source: the file it came from; `-` is stdin.
        output: the file it went to; `-` is stdout; empty for a folder that could not be read.
        status: `done`, `skipped` because the output existed, or `failed`.
        reason: why it was skipped or failed, otherwise empty.
        seconds: time spent on it, including reading and writing.
        width: width in pixels as stored, None if it was not decoded.
        height: height in pixels as stored, None if it was not decoded.
        provider: full name of the onnxruntime provider.
        dropped: names of what was not kept, such as `iptc`; see `cae_runtime.io.encoding.encode`.
        frames: how many frames of a video were written; None for an image.
        repeated: how many of them replace a damaged one; None for an image.
        lossy: whether the output is a JPEG, AVIF, HEIC or lossy WebP, which change all pixels a little; None for a
            video.
        notes: what a user should know about how an image was cleaned.
        filled: share of an image's pixels that were filled, 0..1; None unless holes were to be filled.
        pixels: of all its frames or pages; None if it was not decoded.
        node: the node of a cluster that cleaned it; empty for this machine.
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
    frames: int | None = None
    repeated: int | None = None
    lossy: bool | None = None
    notes: tuple[Note, ...] = ()
    filled: float | None = None
    pixels: int | None = None
    node: str = ""


@dataclass(frozen=True)
class Restored:
    """The result of one call.

    Attributes:
        plan: the work.
        results: one per file. After Ctrl-C there are fewer results than files, or the last one is that of an incomplete
            video.
        restorer: what cleaned them.
        seconds: how long it took.
        interrupted: whether Ctrl-C was pressed.
    """

    plan: Plan
    results: tuple[FileResult, ...]
    restorer: Restorer
    seconds: float
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether any file failed."""
        return any(result.status == "failed" for result in self.results)


def unreadable_results(restorer: Restorer, unreadable: Iterable[Unreadable]) -> list[FileResult]:
    """Return a failed result for each path that could not be read during planning."""
    return [
        FileResult(str(at.path), "", "failed", at.reason, 0.0, None, None, restorer.provider, ()) for at in unreadable
    ]


def output_is_there(job: Job, overwrite: bool) -> bool:
    """Return whether an output exists and must be kept; a store is not asked where a listing has told.

    Raises:
        ImageError: the output cannot be written.
    """
    if isinstance(job.output, Address) and (overwrite or job.exists is not None):
        return bool(job.exists) and not overwrite
    try:
        kind = path_kind(job.output, "output")
    except UsageError as e:
        raise ImageError(f"cannot be written: {e}") from e
    if kind == "folder":
        raise ImageError("cannot be written: the output is a folder")
    return kind == "file" and not overwrite


def reason_of(error: Exception) -> str:
    """Return the text of an error, and how to choose another format where that helps."""
    other = error.other if isinstance(error, ImageFormatError | VideoFormatError) else ""
    return f"{error} (ext='{other.removeprefix('.')}', or an output named *{other})" if other else str(error)
