"""Cleans video files, one result per file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from cae_runtime.errors import ImageError, ProviderError, UsageError, VideoError
from cae_runtime.jobs.planning import Job
from cae_runtime.jobs.restore.images import notes_of
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import NOT_CLEANED, FileResult, output_is_there, reason_of
from cae_runtime.places.address import Place
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.encoding import missing_extra
from cae_runtime.video.files.copies import transcode_any
from cae_runtime.video.frame_cleaner import frame_cleaner
from cae_runtime.video.results import CleanedVideo, VideoInterrupted, VideoPartlyDone

_log = logging.getLogger(__name__)

OnFrame = Callable[[Place, int, int | None], None]
OnResult = Callable[[FileResult], None]


def restore_video(
    restorer: Restorer,
    job: Job,
    options: RestoreOptions,
    *,
    on_frame: OnFrame | None = None,
    on_result: OnResult | None = None,
) -> tuple[FileResult, bool]:
    """Clean one video of a plan: a failure is a result, so that the others go on.

    Args:
        restorer: what cleans.
        job: the file, and where its result goes.
        options: how; `strength`, `coding`, `temporal` and `overwrite` count.
        on_frame: called after each frame with the file, how many are done, and about how many there are.
        on_result: called in another thread with the result as soon as the file is written, also where Ctrl-C keeps it
            from being returned.

    Returns:
        The result, and whether Ctrl-C was pressed.
    """
    result = FileResult(
        str(job.source), str(job.output), "done", "", 0.0, None, None, restorer.provider, (), notes=(*notes_of(job),)
    )
    start = time.perf_counter()
    interrupted = False
    try:
        if output_is_there(job, options.overwrite):
            return replace(result, status="skipped", reason="the output exists"), False
        if missing := missing_extra():
            raise VideoError(f"is a video, and {missing}")

        def told(frames: int, of: int | None) -> None:
            if on_frame is not None:
                on_frame(job.source, frames, of)

        def written(cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> None:
            if on_result is not None:
                on_result(replace(_result_of(result, cleaned, partly), seconds=time.perf_counter() - start))

        clean = frame_cleaner(restorer.for_frames(), options.strength, options.temporal)
        try:
            done = _result_of(result, transcode_any(job.source, job.output, clean, options.coding, told, written), None)
        except VideoInterrupted as e:
            interrupted = True
            done = _result_of(result, e.partly.cleaned, e.partly)
        except VideoPartlyDone as e:
            done = _result_of(result, e.cleaned, e)
    except (ImageError, VideoError, ProviderError, UsageError) as e:
        done = replace(result, status="failed", reason=reason_of(e))
    except MemoryError:
        done = replace(result, status="failed", reason=NOT_CLEANED)
    done = replace(done, seconds=time.perf_counter() - start)
    _log.debug("%s: %s in %.2f s", done.source, done.status, done.seconds)
    return done, interrupted


def _result_of(result: FileResult, cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> FileResult:
    return replace(
        result,
        status="failed" if partly else "done",
        reason=str(partly) if partly else "",
        width=cleaned.width,
        height=cleaned.height,
        frames=cleaned.frames,
        pixels=cleaned.width * cleaned.height * cleaned.frames,
        repeated=cleaned.repeated,
        dropped=cleaned.dropped,
        notes=(*result.notes, *cleaned.notes),
    )
