"""Refuses work for which an optional package is missing, before any file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cae_runtime.errors import UsageError
from cae_runtime.io import heic_extra, raw_extra
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, HEIC, VideoCoding, is_raw
from cae_runtime.jobs.planning import Job
from cae_runtime.places.address import Place
from cae_runtime.video.encoding import check_encoding, missing_extra


def check_extras(jobs: Sequence[Job], sources: Iterable[Place], coding: VideoCoding) -> None:
    """Before any work, refuse settings and missing packages that would let all files of a kind fail.

    Args:
        jobs: all the files.
        sources: the paths that the user named.
        coding: how videos are encoded.

    Raises:
        UsageError: a package is missing, and one of the files that need it was named, or there are no others; HEIC was
            chosen as the format of the outputs, and its package is missing; or an output's format does not hold the
            codec, or the codec knows no such `crf`.
    """
    named = set(sources)
    videos = [job for job in jobs if job.video]
    if _matters(videos, jobs, named) and (missing := missing_extra()):
        raise UsageError(f"{str(videos[0].source)!r} is a video, and {missing}")
    for job in videos:
        check_encoding(job.output, coding)
    raws = [job for job in jobs if is_raw(job.source)]
    if _matters(raws, jobs, named) and not raw_extra.is_installed():
        raise UsageError(f"{str(raws[0].source)!r} {raw_extra.MISSING}")
    made = [job for job in jobs if _is_heic(job.output) and not _is_heic(job.source)]
    if made and not heic_extra.is_installed():
        raise UsageError(f"output {str(made[0].output)!r} is a HEIC. The extra heif writes it: {heic_extra.INSTALL}")
    heics = [job for job in jobs if _is_heic(job.source)]
    if _matters(heics, jobs, named) and not heic_extra.is_installed():
        raise UsageError(f"{str(heics[0].source)!r} {heic_extra.MISSING}")


def _matters(some: Sequence[Job], jobs: Sequence[Job], named: set[Place]) -> bool:
    """Return whether there are no others, or the user named one of them."""
    return bool(some) and (len(some) == len(jobs) or any(job.source in named for job in some))


def _is_heic(path: Place) -> bool:
    return FORMAT_OF_SUFFIX.get(path.suffix.lower()) == HEIC
