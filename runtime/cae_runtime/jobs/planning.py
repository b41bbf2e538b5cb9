"""Plans which source becomes which output, and checks this before any image is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from cae_runtime.errors import UsageError
from cae_runtime.io.formats import (
    FORMAT_OF_SUFFIX,
    SUFFIXES_READ,
    VIDEO_FORMAT_OF_SUFFIX,
    WRITTEN_AS,
    is_picture,
    is_read_only,
    is_video,
    is_written,
    same_format,
)
from cae_runtime.io.headers.unsupported import (
    SUFFIXES,
    begins_as_stream,
    is_other_picture,
    is_transport_stream,
    what_to_do,
)
from cae_runtime.jobs.paths import identity_of, path_kind, spelling_of
from cae_runtime.jobs.walking import Unreadable, below, files_below
from cae_runtime.places import store
from cae_runtime.places.address import Address, Place
from cae_runtime.video.results import partial_of
from cae_shared.text import listed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One image or video to clean.

    Attributes:
        source: the file.
        output: what it becomes.
        renamed: whether the output has the source's ending before its own.
        exists: whether the output is there, as a listing has told; None: it has to be looked for.
    """

    source: Place
    output: Place
    renamed: bool = False
    exists: bool | None = None

    @property
    def video(self) -> bool:
        """Whether the output's name is that of a video."""
        return is_video(self.output)

    @property
    def bytes_listed(self) -> int:
        """How large the source is, as a store's listing has told; 0 if that is not known."""
        return (self.source.size or 0) if isinstance(self.source, Address) else 0

    @property
    def partial(self) -> Place:
        """Where the finished part of a video goes if the work is interrupted."""
        return partial_of(self.output)


@dataclass(frozen=True)
class Plan:
    """All the work of a call.

    Attributes:
        jobs: the images and videos, in order.
        left_out: files in the walked folders that are neither images nor videos.
        folder: where the outputs go.
        names_file: the only output was given as a file name.
        unreadable: paths in the walked folders that could not be read, and pictures in formats that are not read.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Place, ...]
    folder: Place
    names_file: bool = False
    unreadable: tuple[Unreadable, ...] = ()


def make_plan(
    sources: Sequence[Place],
    out: Place,
    *,
    suffix: str = "",
    ext: str | None = None,
    out_is_folder: bool = False,
    may_be_empty: bool = False,
) -> Plan:
    """Find the images and videos and name their outputs; writes nothing.

    Args:
        sources: files and folders; folders are walked, and mirrored into `out`.
        out: a file if `sources` is one file and `out` has the suffix of an image or video; otherwise a folder.
        suffix: added to the stem of each output.
        ext: suffix of the outputs, `.png` of the images or `.mkv` of the videos; None keeps that of each source.
        out_is_folder: `out` is a folder, whatever its suffix (it was given with a trailing slash).
        may_be_empty: folders without images and videos are no error.

    Returns:
        The plan.

    Raises:
        UsageError: a source is missing, cannot be read or has nothing to clean; `out` names a file where a folder is
            needed, or another kind of file; or an output would overwrite a source or another output.
    """
    folders = [_source_is_folder(source) for source in sources]
    if not out_is_folder and _names_a_file(out, one_file=len(sources) == 1 and not folders[0]):
        if len(sources) > 1 or folders[0]:
            why = "SOURCE is a folder" if len(sources) == 1 else f"there are {len(sources)} SOURCEs"
            raise UsageError(f"output {str(out)!r} names a file, but {why}: name a folder")
        if suffix or (ext and not same_format(ext, out.suffix)):
            raise UsageError(f"output {str(out)!r} is a complete file name: suffix and format apply only to folders")
        if is_picture(sources[0]) and is_video(sources[0]) != is_video(out):
            kinds = ("an image", "a video") if is_video(out) else ("a video", "an image")
            raise UsageError(f"source {str(sources[0])!r} is {kinds[0]}, output {str(out)!r} names {kinds[1]}")
        plan = Plan((Job(sources[0], out),), (), out.parent, names_file=True)
    else:
        plan = find_pictures(sources, out, suffix=suffix, ext=ext, may_be_empty=may_be_empty, folders=folders)
    plan = replace(plan, jobs=_apart(plan.jobs))
    refuse_overwriting(plan.jobs)
    return plan


def _apart(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Return jobs in which no two files of a folder become one: `x.gif` becomes `x.gif.webp`, `x.webp` `x.webp.webp`.

    None of them gets the plain name, `x.webp`: before the other file came, it may have become an output of either.
    """
    named = [spelling_of(job.output) for job in jobs]
    endings: dict[str, set[str]] = {}
    for job, name in zip(jobs, named, strict=True):
        endings.setdefault(name, set()).add(job.source.suffix)
    return tuple(with_ending(job) if len(endings[name]) > 1 else job for job, name in zip(jobs, named, strict=True))


def with_ending(job: Job) -> Job:
    """Return a job whose output keeps the source's ending before its own: `x.gif.webp`."""
    return replace(job, output=job.output.with_suffix(f"{job.source.suffix}{job.output.suffix}"), renamed=True)


def _names_a_file(out: Place, one_file: bool) -> bool:
    if isinstance(out, Address) and not out.suffix:
        store.check_writable(out)
        return False
    if path_kind(out, "output") == "folder":
        return False
    suffix = out.suffix.lower()
    like_a_file = is_other_picture(out) or (one_file and suffix[1:].isalpha())  # clean.xyz, but not v1.2
    if (like_a_file or is_read_only(out)) and not is_written(out):
        raise UsageError(
            f"output {str(out)!r}: images are written as {', '.join(FORMAT_OF_SUFFIX)}, "
            f"videos as {', '.join(VIDEO_FORMAT_OF_SUFFIX)}. If this is to be a folder, end its name in a slash"
        )
    return is_written(out)


def _source_is_folder(source: Place) -> bool:
    kind = path_kind(source, "source")
    if kind == "missing":
        raise UsageError(f"source {str(source)!r} does not exist")
    return kind == "folder"


def find_pictures(
    sources: Sequence[Place],
    out: Place,
    *,
    suffix: str = "",
    ext: str | None = None,
    name_of: Callable[[Place], str] | None = None,
    leave_out: bool = True,
    may_be_empty: bool = False,
    folders: Sequence[bool] | None = None,
) -> Plan:
    """Like `make_plan` with a folder as `out`, but outputs are not compared with each other or with the sources.

    Args:
        sources: files and folders.
        out: the folder that sources are mirrored into.
        suffix: see `make_plan`.
        ext: see `make_plan`.
        name_of: returns a source's output name; replaces `suffix` and `ext`, and no source is taken for an output.
        leave_out: whether to skip `out` if it lies inside a source.
        may_be_empty: see `make_plan`.
        folders: whether each source is a folder, if this is known.

    Raises:
        UsageError: a source is missing, cannot be read or has nothing to clean.
    """

    def output_of(source: Place, inside: PurePath) -> Place:
        if name_of is not None:
            return out / inside.with_name(name_of(source))
        kept = ext is None or is_video(Path(f"x{ext}")) != is_video(source)
        end = WRITTEN_AS.get(source.suffix.lower(), source.suffix) if kept else ext
        return out / inside.with_name(f"{source.stem}{suffix}{end}")

    jobs: dict[Job, None] = {}
    walked: set[Place] = set()
    unreadable: list[Unreadable] = []
    left_out: list[Place] = []
    for source, is_folder in zip(sources, folders or map(_source_is_folder, sources), strict=True):
        if not is_folder:
            output = output_of(source, PurePath(source.name))
            if is_other_picture(output) or is_transport_stream(source):
                unreadable.append(Unreadable(source, what_to_do(source), other_picture=True))
            else:
                jobs[Job(source, output)] = None
            continue
        missed = len(unreadable)
        found, others = _found_below(source, out if leave_out else None, unreadable)
        if not found and len(unreadable) == missed and not may_be_empty:
            known = listed([*SUFFIXES_READ, *VIDEO_FORMAT_OF_SUFFIX, "the raw files of cameras"], "and")
            raise UsageError(f"source folder {str(source)!r} has no images or videos ({known})")
        left_out += others
        walked.update(found)
        jobs |= dict.fromkeys(Job(path, output_of(path, below(path, source))) for path in found)
    if suffix:
        jobs = dict.fromkeys(_without_outputs(tuple(jobs), walked))
    _log.debug("%s files, %s left out, %s that cannot be read", len(jobs), len(left_out), len(unreadable))
    return Plan(tuple(jobs), tuple(left_out), out, unreadable=tuple(unreadable))


def _found_below(
    folder: Place, left_alone: Place | None, unreadable: list[Unreadable]
) -> tuple[list[Place], list[Place]]:
    """Return the pictures below a folder, and the files that are left out; adds unsupported kinds to `unreadable`."""
    files = list(files_below(folder, left_alone, unreadable))
    kinds = [_kind(path, unreadable) for path in files]
    of_kind = {name: [path for path, kind in zip(files, kinds, strict=True) if kind == name] for name in set(kinds)}
    unreadable += [Unreadable(path, what_to_do(path), other_picture=True) for path in of_kind.get("not read", [])]
    return of_kind.get("read", []), of_kind.get("other", [])


def _kind(path: Place, unreadable: list[Unreadable]) -> Literal["read", "not read", "other", "unknown"]:
    """Return what a file is; one that a store does not give goes to `unreadable`."""
    if is_picture(path):
        return "read"
    try:
        return "not read" if path.suffix.lower() in SUFFIXES or begins_as_stream(path) else "other"
    except OSError as e:
        if isinstance(path, Path):
            return "other"
        unreadable.append(Unreadable(path, f"cannot be read: {e.strerror}"))
        return "unknown"


def _without_outputs(jobs: Sequence[Job], walked: Set[Place]) -> Iterator[Job]:
    """Yield jobs, except for outputs of an earlier call, such as `photo_clean.jpg` beside `photo.jpg`."""
    made = {spelling_of(path) for job in (*jobs, *_apart(jobs)) for path in (job.output, job.partial)}
    return (job for job in jobs if job.source not in walked or spelling_of(job.source) not in made)


def refuse_overwriting(jobs: Sequence[Job], further: Sequence[Place] = ()) -> None:
    """Refuse outputs that are a source under any name, and outputs that two sources share.

    Args:
        jobs: all the work.
        further: outputs that do not belong to a single job.

    Raises:
        UsageError: there is such an output.
    """
    refuse_sources(jobs, (*(job.output for job in jobs), *further))
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(spelling_of(job.output), job)
        if other.source != job.source:
            raise UsageError(
                f"{str(other.source)!r} and {str(job.source)!r} would both become {str(job.output)!r}: "
                "clean them into different folders"
            )


def refuse_sources(jobs: Sequence[Job], outputs: Sequence[Place]) -> None:
    """Refuse outputs that are a source under any name.

    Raises:
        UsageError: there is such an output.
    """
    sources = {identity_of(job.source): job.source for job in jobs}
    for output in outputs:
        identity = identity_of(output)
        if identity is not None and identity in sources:
            raise UsageError(
                f"output {str(output)!r} would overwrite the source {str(sources[identity])!r}: "
                "choose another output, or add a suffix such as _clean"
            )
