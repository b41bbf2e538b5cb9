"""Plans which source becomes which output, and checks this before any image is opened."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from cae_runtime.io.headers.unsupported import OF_SYSTEMS, is_other_picture, is_transport_stream, what_to_do
from cae_runtime.jobs.paths import identity_of, mode_of, path_kind, spelling_of
from cae_runtime.video.results import partial_of
from cae_shared.text import listed

_log = logging.getLogger(__name__)

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True)
class Job:
    """One image or video to clean: its source, its output, and whether that has the source's ending before its own."""

    source: Path
    output: Path
    renamed: bool = False

    @property
    def video(self) -> bool:
        """Whether it is a video, by the output's name."""
        return is_video(self.output)

    @property
    def partial(self) -> Path:
        """Where the finished part of a video goes if the work is interrupted."""
        return partial_of(self.output)


@dataclass(frozen=True)
class Unreadable:
    """A file or folder that could not be read, or an image or video of a kind that is not read, and the reason."""

    path: Path
    reason: str
    other_picture: bool = False


@dataclass(frozen=True)
class Plan:
    """All the work of a call.

    Attributes:
        jobs: the images and videos, in order.
        left_out: files in the walked folders that are neither images nor videos.
        folder: where the outputs go.
        names_file: the only output was given as a file name.
        unreadable: paths in the walked folders that could not be read, and pictures of kinds that are not read.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...]
    folder: Path
    names_file: bool = False
    unreadable: tuple[Unreadable, ...] = ()


def make_plan(
    sources: Sequence[Path],
    out: Path,
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
            raise UsageError(f"output {str(out)!r} is a file's full name: suffix and format are chosen for folders")
        if is_picture(sources[0]) and is_video(sources[0]) != is_video(out):
            kinds = ("an image", "a video") if is_video(out) else ("a video", "an image")
            raise UsageError(f"source {str(sources[0])!r} is {kinds[0]}, output {str(out)!r} names {kinds[1]}")
        plan = Plan((Job(sources[0], out),), (), out.parent, names_file=True)
    else:
        plan = find_pictures(sources, out, suffix=suffix, ext=ext, may_be_empty=may_be_empty)
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


def _names_a_file(out: Path, one_file: bool) -> bool:
    if path_kind(out, "output") == "folder":
        return False
    suffix = out.suffix.lower()
    like_a_file = is_other_picture(out) or (one_file and suffix[1:].isalpha())  # clean.xyz, but not v1.2
    if (like_a_file or is_read_only(out)) and not is_written(out):
        raise UsageError(
            f"output {str(out)!r}: images are written as {', '.join(FORMAT_OF_SUFFIX)}, "
            f"videos as {', '.join(VIDEO_FORMAT_OF_SUFFIX)}; a folder's name that ends so must exist already"
        )
    return is_written(out)


def _source_is_folder(source: Path) -> bool:
    kind = path_kind(source, "source")
    if kind == "missing":
        raise UsageError(f"source {str(source)!r} does not exist")
    return kind == "folder"


def find_pictures(
    sources: Sequence[Path],
    out: Path,
    *,
    suffix: str = "",
    ext: str | None = None,
    name_of: Callable[[Path], str] | None = None,
    leave_out: bool = True,
    may_be_empty: bool = False,
) -> Plan:
    """Like `make_plan` with a folder as `out`, but outputs are not compared with each other or with the sources.

    Args:
        sources: files and folders.
        out: the folder that sources are mirrored into.
        suffix: as in `make_plan`.
        ext: as there.
        name_of: returns a source's output name; replaces `suffix` and `ext`, and no source is taken for an output.
        leave_out: whether to skip `out` if it lies inside a source.
        may_be_empty: as in `make_plan`.

    Raises:
        UsageError: a source is missing, cannot be read or has nothing to clean.
    """

    def output_of(source: Path, below: Path) -> Path:
        if name_of is not None:
            return out / below.with_name(name_of(source))
        kept = ext is None or is_video(Path(f"x{ext}")) != is_video(source)
        end = WRITTEN_AS.get(source.suffix.lower(), source.suffix) if kept else ext
        return out / below.with_name(f"{source.stem}{suffix}{end}")

    jobs: dict[Job, None] = {}
    walked: set[Path] = set()
    unreadable: list[Unreadable] = []
    left_out: list[Path] = []
    for source in sources:
        if not _source_is_folder(source):
            output = output_of(source, Path(source.name))
            if is_other_picture(output) or is_transport_stream(source):
                unreadable.append(Unreadable(source, what_to_do(source), other_picture=True))
            else:
                jobs[Job(source, output)] = None
            continue
        missed = len(unreadable)
        files = list(_walk(source, identity_of(out) if leave_out else None, unreadable))
        found = [path for path in files if is_picture(path)]
        others = [path for path in files if is_other_picture(path)]
        unreadable += [Unreadable(path, what_to_do(path), other_picture=True) for path in others]
        if not found and len(unreadable) == missed and not may_be_empty:
            known = listed([*SUFFIXES_READ, *VIDEO_FORMAT_OF_SUFFIX, "the raw files of cameras"], "and")
            raise UsageError(f"source folder {str(source)!r} has no images or videos ({known})")
        left_out += [path for path in files if not is_picture(path) and not is_other_picture(path)]
        walked.update(found)
        jobs |= dict.fromkeys(Job(path, output_of(path, path.relative_to(source))) for path in found)
    if suffix:  # photo_clean.jpg beside photo.jpg is an output of an earlier call
        made = {spelling_of(path) for job in (*jobs, *_apart([*jobs])) for path in (job.output, job.partial)}
        jobs = {job: None for job in jobs if job.source not in walked or spelling_of(job.source) not in made}
    _log.debug("%s files, %s left out, %s that cannot be read", len(jobs), len(left_out), len(unreadable))
    return Plan(tuple(jobs), tuple(left_out), out, unreadable=tuple(unreadable))


def _walk(folder: Path, left_alone: object, unreadable: list[Unreadable]) -> Iterator[Path]:
    """Yield the files below a folder in order, without hidden and system files; follows links, but not in circles.

    What cannot be read is added to `unreadable`.

    Raises:
        UsageError: the folder that the walk starts from cannot be read.
    """
    try:
        opened = [(identity_of(folder), iter(sorted(folder.iterdir())))]  # from the first folder to the current one
    except OSError as e:
        raise UsageError(f"source folder {str(folder)!r} cannot be read: {e.strerror}") from e
    while opened:
        entry = next(opened[-1][1], None)
        if entry is None:
            opened.pop()
            continue
        mode = _mode_of_entry(entry, unreadable)
        if stat.S_ISREG(mode):
            yield entry
        if not stat.S_ISDIR(mode):
            continue
        identity = identity_of(entry)
        if identity in (above for above, _ in opened) or (identity is not None and identity == left_alone):
            continue
        try:
            opened.append((identity, iter(sorted(entry.iterdir()))))
        except OSError as e:
            unreadable.append(Unreadable(entry, f"cannot be read: {e.strerror}"))


def _mode_of_entry(entry: Path, unreadable: list[Unreadable]) -> int:
    """Return the mode of an entry of a walked folder; 0 if it is left out or added to `unreadable`."""
    if entry.name.startswith(".") or entry.name.casefold() in OF_SYSTEMS:
        return 0
    try:
        mode = mode_of(entry)
    except OSError as e:
        unreadable.append(Unreadable(entry, f"cannot be looked at: {e.strerror}"))
        return 0
    if mode is None and is_picture(entry):
        unreadable.append(Unreadable(entry, "is a link to nothing"))
    named_like_one = is_picture(entry) or is_other_picture(entry)
    if mode is not None and named_like_one and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")  # opening a pipe could block forever
        unreadable.append(Unreadable(entry, f"is not a file but {kind}: it was not opened"))
    return mode or 0


def refuse_overwriting(jobs: Sequence[Job], further: Sequence[Path] = ()) -> None:
    """Refuse outputs that are a source under any name, and outputs that two sources share.

    Args:
        jobs: all the work.
        further: outputs that do not belong to a single job.

    Raises:
        UsageError: there is such an output.
    """
    sources = {identity_of(job.source): job.source for job in jobs}
    first: dict[str, Job] = {}
    for output in (*(job.output for job in jobs), *further):
        identity = identity_of(output)
        if identity is not None and identity in sources:
            raise UsageError(
                f"output {str(output)!r} would overwrite the source {str(sources[identity])!r}: "
                "choose another output, or add a suffix such as _clean"
            )
    for job in jobs:
        other = first.setdefault(spelling_of(job.output), job)
        if other.source != job.source:
            raise UsageError(
                f"{str(other.source)!r} and {str(job.source)!r} would both become {str(job.output)!r}: "
                "clean them into different folders"
            )
