"""What `cae-run` does after parsing: clean all files of a plan, or one image through a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, PIPE, VideoCoding, is_video, same_format
from cae_runtime.io.image_files import read_file, read_stream, write_file
from cae_runtime.jobs import images as batch
from cae_runtime.jobs.files import clean_all
from cae_runtime.jobs.images import NO_MEMORY, Clean, FileResult, unreadable_results
from cae_runtime.jobs.planning import Plan, is_folder, prepare_output
from cae_runtime.jobs.report import Progress, mask_notes, summary
from cae_runtime.tasks.restore import Restorer


def clean_plan(
    plan: Plan,
    restorer: Restorer,
    *,
    strength: float,
    quality: int | None,
    coding: VideoCoding,
    temporal: bool,
    overwrite: bool,
    clean: Clean | None,
    tell: Callable[[str], None],
) -> tuple[list[FileResult], float, bool]:
    """Clean all files of a plan with a progress bar; return the results, the seconds, and whether Ctrl-C was pressed.

    After Ctrl-C there are fewer results than files, or the last one is that of an incomplete video.
    """
    for line in restorer.remarks:
        tell(line)
    start = time.perf_counter()
    results = unreadable_results(restorer, plan.unreadable)
    written: list[FileResult] = []
    interrupted = False
    try:
        with Progress(len(plan.jobs)) as progress:
            for result in clean_all(
                restorer,
                plan.jobs,
                strength=strength,
                quality=quality,
                coding=coding,
                temporal=temporal,
                overwrite=overwrite,
                on_frame=progress.on_frame,
                clean=clean,
                on_result=written.append,
            ):
                results.append(result)  # one by one, so that finished results survive Ctrl-C
                progress.on_file()
    except KeyboardInterrupt:
        interrupted = True
        known = {result.output for result in results}
        results += [result for result in written if result.output not in known]
    results = [_still_there(result) for result in results]
    seconds = time.perf_counter() - start
    for line in [*(mask_notes(results) if clean else []), *summary(results, plan, restorer.provider, seconds)]:
        tell(line)
    return results, seconds, interrupted


def _still_there(result: FileResult) -> FileResult:
    """Return a failure instead of a result whose output no longer exists, such as after its folder was removed."""
    if result.status == "failed" or Path(result.output).is_file():
        return result
    return replace(result, status="failed", reason=f"was cleaned, but {result.output!r} was removed meanwhile")


def clean_pipe(
    source: str,
    output: str,
    ext: str | None,
    overwrite: bool,
    open_model: Callable[[], Restorer],
    *,
    strength: float,
    quality: int | None,
    tell: Callable[[str], None],
) -> None:
    """Clean one image from stdin, to stdout, or both; messages go to stderr."""
    target = None if output == PIPE else Path(output)
    if is_video(Path(source)) or is_video(Path(output)):
        raise UsageError("- takes and gives images: videos are read from and written to files")
    if target is None:
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("-o - has no file or program behind stdout to write the image to")
    else:
        there = is_folder(target, "output")
        agrees = ext is None or same_format(ext, target.suffix)
        if there or target.suffix.lower() not in FORMAT_OF_SUFFIX or not agrees or output.endswith(("/", os.sep)):
            raise UsageError(f"output {output!r}: with - as SOURCE it must be a file's full name, or -, without --ext")
        ext = target.suffix.lower()
        if there is not None and not overwrite:
            tell(f"skipped: {output!r} exists (--overwrite replaces it)")
            return
    if source == PIPE and sys.stdin is None:
        raise UsageError("SOURCE is -, but stdin is closed: give it a file or the output of a program")
    if source != PIPE and is_folder(Path(source), "source") is not False:
        raise UsageError(f"source {source!r} is not a file")

    restorer = open_model()
    if target is not None:
        prepare_output(target.parent)
    for line in restorer.remarks:
        tell(line)
    try:
        data = read_stream(sys.stdin.buffer) if source == PIPE else read_file(Path(source))
        cleaned = batch.clean_bytes(
            restorer, data, format=FORMAT_OF_SUFFIX[ext] if ext else None, strength=strength, quality=quality
        )
        if target is not None:
            write_file(target, cleaned.data)
    except (ImageError, MemoryError) as e:
        reason = str(e) if isinstance(e, ImageError) else NO_MEMORY
        raise ImageError(f"{'stdin' if source == PIPE else repr(source)} {reason}") from e
    if target is None:
        try:
            with os.fdopen(
                os.dup(sys.stdout.fileno()), "wb"
            ) as stream:  # a separate object: a failed write is not repeated
                stream.write(cleaned.data)
        except OSError as e:
            raise ImageError(f"output '-' cannot be written to: {e.strerror}") from e
    name = "stdin" if source == PIPE else repr(source)
    if cleaned.dropped:
        tell(f"not kept from {name}: {', '.join(cleaned.dropped)}")
    for note in cleaned.notes:
        tell(f"note: {name}: {note.text}")
