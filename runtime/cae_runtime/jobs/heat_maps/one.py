"""One picture, from a file or stdin, to one heat map, in a file or on stdout."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, PIPE, is_video
from cae_runtime.io.image_files import decode, read_file, read_stream
from cae_runtime.io.orientation import upright
from cae_runtime.jobs.heat_maps.judge import Judge
from cae_runtime.jobs.heat_maps.limits import Limit, SizeNotes
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import path_kind, prepare_output
from cae_runtime.jobs.restore.pipe import write_to_stdout

_log = logging.getLogger(__name__)


def names_one(request: Request) -> bool:
    """Whether a request is about one picture and one file."""
    if len(request.sources) != 1 or request.bad is not None:
        return False
    (source,), output = request.sources, request.output
    if PIPE in (str(source), str(output)):
        return True
    is_file = output.suffix.lower() in FORMAT_OF_SUFFIX and path_kind(output, "output") != "folder"
    return is_file and path_kind(source, "source") == "file" and not is_video(source)


def judge_one(judge: Judge, limit: Limit, source: str, output: str, request: Request) -> Outcome:
    """Write the heat map of one picture.

    Args:
        judge: the model.
        limit: its threshold.
        source: a file, or `-` for stdin.
        output: a file, or `-` for stdout, which gets a PNG file.
        request: how.

    Raises:
        UsageError: the output is the source, or names no image; or a stream is closed.
        ImageError: the picture cannot be read or scored, or the heat map not be written.
    """
    target = None if output == PIPE else Path(output)
    ending = ".png" if target is None else target.suffix.lower()
    if ending not in FORMAT_OF_SUFFIX or (target is not None and path_kind(target, "output") == "folder"):
        raise UsageError(f"output {output!r}: one picture becomes one heat map, a file such as part_heat.png")
    if source != PIPE and path_kind(Path(source), "source") != "file":
        raise UsageError(f"source {source!r} is not a file")
    if target is None and (judge.raw_maps or judge.defect_masks):
        raise UsageError("raw maps and masks are written beside a heat map, not to stdout")
    there = target is not None and path_kind(target, "output") == "file"
    if there and source != PIPE and Path(output).samefile(source):
        raise UsageError(f"output {output!r} would overwrite the source")
    if there and not request.overwrite:
        _log.info("skipped: %r exists (overwrite=True replaces it)", output)
        return Outcome({"output": output, "skipped": True})
    named = "stdin" if source == PIPE else source
    try:
        if source == PIPE and sys.stdin is None:
            raise UsageError("SOURCE is -, but stdin is closed: give it a file or the output of a program")
        picture = decode(read_stream(sys.stdin.buffer) if source == PIPE else read_file(Path(source)))
        pixels = upright(picture.pixels, picture.orientation)
        if target is None:
            found = judge.find(pixels)
            write_to_stdout(judge.drawn(pixels, found.heat))
        else:
            prepare_output(target.parent)
            found = judge.write(target, pixels)
    except ImageError as e:
        raise ImageError(f"{named!r} {e}") from e
    notes = SizeNotes(limit.spec)
    notes.add(pixels)
    for note in notes.lines():
        _log.info("note: %s", note)
    anomaly = found.score > limit.threshold
    relation = "is an anomaly" if anomaly else "is no anomaly"
    comparison = "above" if anomaly else "not above"
    _log.info("%s %s: its score %.4g is %s %.4g, %s",
              named, relation, found.score, comparison, limit.threshold, limit.described)  # fmt: skip
    verdict = Verdict(source, "done", "", output, found.score, anomaly)
    session = judge.detector.session
    return Outcome(
        {
            "output": output, "model": session.path.name, "provider": session.provider, **limit.document(),
            "anomalies": int(anomaly), "files": [asdict(verdict)],
        },
        anomalies=int(anomaly),
    )  # fmt: skip
