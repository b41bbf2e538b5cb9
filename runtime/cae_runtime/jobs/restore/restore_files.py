"""Restores all files of one call. Each gets its own result, so one failure does not affect the others."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from cae_runtime.inference.session import Session
from cae_runtime.io.encoding import WITH_QUALITY, WITHOUT_QUALITY
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, VideoCoding
from cae_runtime.jobs.existing_outputs import with_existing
from cae_runtime.jobs.paths import prepare_output
from cae_runtime.jobs.pictures import Change
from cae_runtime.jobs.planning import Job, Plan, make_plan
from cae_runtime.jobs.progress import Progress
from cae_runtime.jobs.restore.engine import Engine
from cae_runtime.jobs.restore.extras import check_extras
from cae_runtime.jobs.restore.images import OnPart, restore_images
from cae_runtime.jobs.restore.masks import filling
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.report import lossy_notes, summary
from cae_runtime.jobs.restore.results import FileResult, Restored, unreadable_results
from cae_runtime.jobs.restore.videos import OnFrame, restore_video
from cae_runtime.places.address import Place, is_address, place_of
from cae_runtime.tasks.restore import Restorer
from cae_shared.signals import interruptible

_log = logging.getLogger(__name__)


def restore_files(
    session: Session, sources: Sequence[Place], output: str, options: RestoreOptions, engine: Engine | None = None
) -> Restored:
    """Restore images and videos, with a progress bar and a summary. After Ctrl-C there is a summary too.

    Args:
        session: the model, of a task that restores images.
        sources: files and folders; folders are walked.
        output: a file, or a folder (always, where it ends in a separator) that folders are mirrored into.
        options: how.
        engine: what cleans in the place of this process.

    Returns:
        The results.

    Raises:
        CaeRuntimeError: as the engine raises it.
        UsageError: see `make_plan`, `check_extras`, `filling`, `prepare_output` and `Restorer`.
        ModelError: holes are to be filled and the model was not trained for that, or its output patches do not have the
            size of its input.
    """
    is_folder = output.endswith(("/", os.sep))
    plan = make_plan(
        sources, place_of(output, "output"), suffix=options.suffix, ext=options.ext, out_is_folder=is_folder
    )
    check_extras(plan.jobs, sources, options.coding)
    plan = with_existing(plan, options.overwrite)
    if options.coding != VideoCoding() and not any(job.video for job in plan.jobs):
        _log.info("note: codec, crf and pixel format are those of videos, and there are only images")
    if options.quality is not None and not any(_format_of(job) in WITH_QUALITY for job in plan.jobs):
        _log.info(WITHOUT_QUALITY)
    change = None
    if options.fills:
        restorer, change = filling(session, plan, options)
    else:
        restorer = restorer_of(session, options)
        if session.spec.task == "inpaint":
            _log.info("note: model %r was trained to fill holes: name them with a mask or a mask color", session.name)
    prepare_output(plan.folder, (job.output for job in plan.jobs))
    for line in restorer.remarks:
        _log.info("%s", line)
    with interruptible():
        restored = clean_plan(plan, restorer, options, change, engine)
        for line in [*(lossy_notes(restored.results) if options.fills else []), *summary(restored)]:
            _log.info("%s", line)
    return restored


def _format_of(job: Job) -> str | None:
    """Return the image format of an output; None for videos."""
    return FORMAT_OF_SUFFIX.get(job.output.suffix.lower())


def restorer_of(session: Session, options: RestoreOptions) -> Restorer:
    """Return a restorer for an opened model whose threads are pinned to CPUs."""
    return Restorer(session, batch=options.batch, overlap=options.overlap, stretch=options.stretch, pin_threads=True)


def clean_plan(
    plan: Plan,
    restorer: Restorer,
    options: RestoreOptions,
    change: Change | None = None,
    engine: Engine | None = None,
) -> Restored:
    """Clean all files of a plan with a progress bar. After Ctrl-C, the result says so.

    Args:
        plan: the files.
        restorer: what cleans.
        options: how.
        change: called on each picture instead of the restorer.
        engine: what cleans in the place of this process; it knows `change` from the options.
    """
    start = time.perf_counter()
    results = unreadable_results(restorer, plan.unreadable)
    written: list[FileResult] = []
    interrupted = False
    try:
        with Progress(len(plan.jobs)) as progress:
            if engine is None:
                cleaned = clean_each(
                    plan.jobs, restorer, options, change,
                    on_frame=progress.on_frame, on_part=progress.on_part, on_result=written.append,
                )  # fmt: skip
            else:
                cleaned = engine.clean(plan, restorer, options, written.append)
            with contextlib.closing(cleaned):
                for result in cleaned:
                    results.append(result)  # one by one, so that finished results survive Ctrl-C
                    progress.on_file()
    except KeyboardInterrupt:
        interrupted = True
        known = {result.output for result in results}
        results += [result for result in written if result.output not in known]
    if engine is not None:
        results = in_order(results, plan)
    results = [_still_there(result) for result in results]
    return Restored(plan, tuple(results), restorer, time.perf_counter() - start, interrupted)


def clean_each(
    jobs: Iterable[Job],
    restorer: Restorer,
    options: RestoreOptions,
    change: Change | None = None,
    on_frame: OnFrame | None = None,
    on_part: OnPart | None = None,
    on_result: Callable[[FileResult], None] | None = None,
) -> Generator[FileResult, None, None]:
    """Yield one result per file, in order; also that of a video that Ctrl-C interrupted, before KeyboardInterrupt.

    For the arguments see `restore_images` and `restore_video`.
    """
    for video, group in groupby(jobs, key=lambda job: job.video):
        if not video:
            yield from restore_images(restorer, group, options, change=change, on_part=on_part, on_result=on_result)
            continue
        for job in group:
            result, interrupted = restore_video(restorer, job, options, on_frame=on_frame, on_result=on_result)
            yield result
            if interrupted:
                raise KeyboardInterrupt


def in_order(results: Iterable[FileResult], plan: Plan) -> list[FileResult]:
    """Return results in the order of the plan, those of paths that could not be read first."""
    place = {str(job.output): number for number, job in enumerate(plan.jobs)}
    return sorted(results, key=lambda result: place.get(result.output, -1))


def _still_there(result: FileResult) -> FileResult:
    """Return a failure instead of a result whose output no longer exists, such as after its folder was removed."""
    if result.status == "failed" or is_address(result.output) or Path(result.output).is_file():
        return result
    return replace(result, status="failed", reason=f"was cleaned, but {result.output!r} was removed meanwhile")
