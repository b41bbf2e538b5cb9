"""One picture, from a file or stdin, to one heat map, in a file or on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cae_runtime.errors import ImageError, UsageError
from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, PIPE, is_video
from cae_runtime.io.image_files import read_file, read_stream
from cae_runtime.jobs.heat_maps.judge import Judge, refuse_region, written_endings
from cae_runtime.jobs.heat_maps.table import Status, Verdict
from cae_runtime.jobs.heat_maps.threshold import Limit, PictureNotes, looks_of
from cae_runtime.jobs.opened_images import single_image
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import identity_of, path_kind, prepare_output
from cae_runtime.jobs.progress import Progress
from cae_runtime.jobs.restore.pipe import write_to_stdout

_log = logging.getLogger(__name__)


def names_one(request: Request) -> bool:
    """Whether a request is about one picture and one file."""
    if len(request.sources) != 1 or request.bad is not None:
        return False
    (source,), output = request.sources, request.folder
    if PIPE in (str(source), str(output)):
        return True
    is_file = output.suffix.lower() in FORMAT_OF_SUFFIX and path_kind(output, "output") != "folder"
    return is_file and path_kind(source, "source") == "file" and not is_video(source)


def judge_one(judge: Judge, limit: Limit, request: Request) -> Outcome:
    """Write the heat map of one picture; one that exists is kept, and the picture is scored all the same.

    Args:
        judge: the model.
        limit: its threshold.
        request: how; the only source is a file, or `-` for stdin, and the output a file, or `-` for stdout, which gets
            a PNG file.

    Raises:
        UsageError: an output is the source, or some outputs exist and others do not; the heat map's name is not that
            of an image that can be written; or a stream is closed.
        ImageError: the picture cannot be read or scored, or the heat map not be written.
    """
    place, source, output = request.sources[0], str(request.sources[0]), str(request.output)
    target = None if output == PIPE else request.folder
    if target is not None:
        if target.suffix.lower() not in FORMAT_OF_SUFFIX or path_kind(target, "output") == "folder":
            raise UsageError(f"output {output!r}: one picture becomes one heat map, a file such as part_heat.png")
        if target.suffix.lower() not in (endings := written_endings()):
            raise UsageError(f"output {output!r}: heat maps are written as {', '.join(endings)}")
    if source != PIPE and path_kind(place, "source") != "file":
        raise UsageError(f"source {source!r} is not a file")
    if target is None and (judge.raw_maps or judge.defect_masks):
        raise UsageError("raw maps and masks are written beside a heat map, not to stdout")
    outputs = [] if target is None else judge.outputs(target)
    keep = _keeps(outputs, request)
    for path in outputs if keep else ():
        _log.info("skipped: %r exists (overwrite=True replaces it)", str(path))
    named = "stdin" if source == PIPE else source
    try:
        if source == PIPE and sys.stdin is None:
            raise UsageError("SOURCE is -, but stdin is closed: give it a file or the output of a program")
        pixels = single_image(read_stream(sys.stdin.buffer) if source == PIPE else read_file(place))
        made = None if keep else target
        if made is not None:
            prepare_output(made.parent)
        with Progress(1, "looking") as shown:
            part = partial(shown.on_part, Path(named) if source == PIPE else place)
            found = judge.find(pixels, part) if made is None else judge.write(made, pixels, part)
        if target is None:
            write_to_stdout(judge.drawn(pixels, found.heat))
    except ImageError as e:
        raise ImageError(f"{named!r} {e}") from e
    note = _told_note(limit.spec, pixels, named)
    anomaly = found.score > limit.threshold
    relation, comparison = ("is an anomaly", "above") if anomaly else ("is no anomaly", "not above")
    _log.info("%s %s: its score %.4g is %s %.4g, %s",
              named, relation, found.score, comparison, limit.threshold, limit.described)  # fmt: skip
    maps = {} if target is None else {kind: str(path) for kind, path in judge.beside(target).items()}
    status: Status = "skipped" if keep else "done"
    verdict = Verdict(source, status, "", output, **maps, score=found.score, anomaly=anomaly, note=note)
    session = judge.detector.session
    return Outcome(
        {
            "output": output, "model": session.path.name, "provider": session.provider, **limit.document(),
            "anomalies": int(anomaly), **({"skipped": True} if keep else {}), "files": [verdict.document()],
        },
        anomalies=int(anomaly),
    )  # fmt: skip


def _told_note(spec: ModelSpec, pixels: NDArray[Any], named: str) -> str:
    """Tell the user how a picture differs from good ones; return it as in a `Verdict`."""
    notes, looks = PictureNotes(spec), looks_of(pixels, spec)
    notes.add(looks, named)
    for line in notes.lines():
        _log.info("note: %s", line)
    return notes.of_picture(looks)


def _keeps(outputs: Sequence[Path], request: Request) -> bool:
    """Whether all outputs exist and are kept.

    Raises:
        UsageError: one of them is the source, or the mask of the region; or some exist, and others do not.
    """
    there = [path for path in outputs if path_kind(path, "output") != "missing"]
    for path in there:
        if str(request.sources[0]) != PIPE and identity_of(path) == identity_of(request.sources[0]):
            raise UsageError(f"output {str(path)!r} would overwrite the source")
    refuse_region(request.region, there)
    if there and len(there) < len(outputs) and not request.overwrite:
        missing = next(path for path in outputs if path not in there)
        raise UsageError(
            f"output {str(there[0])!r} exists, and {str(missing)!r} does not: overwrite=True replaces all of them, or "
            "choose another output"
        )
    return bool(there) and not request.overwrite
