"""Cleans images and videos in one call: one result for each, whatever happens to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from cae_runtime.errors import ImageError, ProviderError, UsageError, VideoError
from cae_runtime.io.formats import VideoCoding
from cae_runtime.jobs.images import NO_MEMORY, FileResult, clean_files, output_is_there
from cae_runtime.jobs.images import Clean as CleanImage
from cae_runtime.jobs.planning import Job
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_runtime.video.transcode import (
    CleanedVideo,
    VideoInterrupted,
    VideoPartlyDone,
    check_encoding,
    missing_extra,
    transcode,
)

OnFrame = Callable[[Path, int, int | None], None]
OnResult = Callable[[FileResult], None]


def check_videos(jobs: Sequence[Job], sources: Iterable[Path], coding: VideoCoding) -> None:
    """Refuse what would fail with every video, before any work is done.

    Args:
        jobs: all the files.
        sources: what the user named.
        coding: how they are to be written.

    Raises:
        UsageError: PyAV is missing and a video was named, or there are only videos; or an output's format does not hold
            the codec, or the codec knows no such `crf`.
    """
    videos = [job for job in jobs if job.video]
    named = set(sources)
    none_else = videos and (len(videos) == len(jobs) or any(job.source in named for job in videos))
    if none_else and (missing := missing_extra()):
        raise UsageError(f"{str(videos[0].source)!r} is a video, and {missing}")
    for job in videos:
        check_encoding(job.output, coding)


def clean_all(
    restorer: Restorer,
    jobs: Iterable[Job],
    *,
    strength: float = 1.0,
    quality: int | None = None,
    coding: VideoCoding = VideoCoding(),  # noqa: B008 - it cannot be changed
    temporal: bool = True,
    overwrite: bool = False,
    on_frame: OnFrame | None = None,
    clean: CleanImage | None = None,
    on_result: OnResult | None = None,
) -> Iterator[FileResult]:
    """Clean images and videos, and yield each result as it comes.

    Args:
        restorer: what cleans.
        jobs: the files, see `cae_runtime.jobs.planning.make_plan`.
        strength: 0..1, see `Restorer`.
        quality: of images, 1..100, see `cae_runtime.io.image_files.encode`.
        coding: of videos.
        temporal: whether the frames of videos are averaged over time before the network.
        overwrite: replace existing outputs instead of skipping them.
        on_frame: called after each frame of a video with the file, how many are done, and about how many there are.
        clean: of images, see `cae_runtime.jobs.images.clean_files`.
        on_result: called in another thread with each result, also with those that Ctrl-C keeps from being yielded;
            see there.

    Yields:
        One result a job, in order. Of a video that Ctrl-C has ended a result comes too, before that is raised.

    Raises:
        ModelError: the model's output patches do not have the size of its input, so nothing can be cleaned.
    """
    for video, group in groupby(jobs, key=lambda job: job.video):
        if not video:
            yield from clean_files(
                restorer,
                group,
                strength=strength,
                quality=quality,
                overwrite=overwrite,
                clean=clean,
                on_result=on_result,
            )
            continue
        for job in group:
            result, interrupted = _clean_one(job, restorer, strength, coding, temporal, overwrite, on_frame, on_result)
            yield result
            if interrupted:
                raise KeyboardInterrupt


def _clean_one(
    job: Job,
    restorer: Restorer,
    strength: float,
    coding: VideoCoding,
    temporal: bool,
    overwrite: bool,
    on_frame: OnFrame | None,
    on_result: OnResult | None,
) -> tuple[FileResult, bool]:
    """Clean a video; return what became of it, and whether Ctrl-C has ended it."""
    result = FileResult(str(job.source), str(job.output), "done", "", 0.0, None, None, restorer.provider, ())
    start = time.perf_counter()
    interrupted = False
    try:
        if output_is_there(job.output, overwrite):
            return replace(result, status="skipped", reason="the output exists"), False
        if missing := missing_extra():
            raise VideoError(f"is a video, and {missing}")

        def told(frames: int, of: int | None) -> None:
            if on_frame is not None:
                on_frame(job.source, frames, of)

        def written(cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> None:
            if on_result is not None:
                on_result(replace(_result_of(result, cleaned, partly), seconds=time.perf_counter() - start))

        clean = frame_cleaner(restorer, strength, temporal)
        try:
            done = _result_of(result, transcode(job.source, job.output, clean, coding, told, written), None)
        except VideoInterrupted as e:
            interrupted = True
            done = _result_of(result, e.partly.cleaned, e.partly)
        except VideoPartlyDone as e:
            done = _result_of(result, e.cleaned, e)
    except (ImageError, VideoError, ProviderError, UsageError) as e:
        done = replace(result, status="failed", reason=str(e))
    except MemoryError:
        done = replace(result, status="failed", reason=NO_MEMORY)
    return replace(done, seconds=time.perf_counter() - start), interrupted


def _result_of(result: FileResult, cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> FileResult:
    return replace(
        result,
        status="failed" if partly else "done",
        reason=str(partly) if partly else "",
        width=cleaned.width,
        height=cleaned.height,
        frames=cleaned.frames,
        repeated=cleaned.repeated,
        dropped=cleaned.dropped,
    )
