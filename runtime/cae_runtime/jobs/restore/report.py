"""Reports on restored files: failures, losses and a summary, or a JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from cae_runtime.jobs.failures import by_kind, failures
from cae_runtime.jobs.planning import Plan
from cae_runtime.jobs.restore.results import FileResult, Restored
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.strengths import Strengths
from cae_shared.text import counted

_LOSS_LINES_MAX: Final = 10


def summary(restored: Restored) -> list[str]:
    """Return the lines of the summary: failures, losses, and totals."""
    results, plan = restored.results, restored.plan
    done = [result for result in results if result.status == "done"]
    failed = [result for result in results if result.status == "failed"]
    lines = failures([(result.source, result.reason) for result in failed], plan)
    lines += _losses(done)
    lines += note_lines(
        [(result.source, note) for result in done for note in result.notes], ": the JSON report lists them"
    )
    lines += _damaged(results)
    speed = f" in {restored.seconds:.1f} s, {megapixels(done) / max(restored.seconds, 1e-9):.2f} Mpx/s" if done else ""
    target = plan.jobs[0].output if plan.names_file else f"{plan.folder}/"
    skipped = sum(result.status == "skipped" for result in results)
    notes = [
        f"{number} {words}"
        for number, words in (
            (copied(results), "copied unchanged, since nothing in them is marked"),
            (skipped, "skipped, their outputs exist (overwrite=True replaces them)"),
            (len(failed), f"failed{_of_other_kinds(plan)}"),
            (not_reached(results, plan), "not reached"),
        )
        if number
    ]
    notes += _left_out(plan)
    changed = [result for result in done if result.filled != 0]
    verb = "cleaned" if restored.restorer.spec.fill is None else "filled"
    line = f"{verb} {_count(changed) if changed else 'nothing'}{speed}, {provider_of(restored)} -> {target}"
    return [*lines, "; ".join([line, *notes])]


def _damaged(results: Sequence[FileResult]) -> list[str]:
    """Return a line for the first videos with damaged frames, and how many more there are."""
    found = [result for result in results if result.repeated]
    lines = [
        f"note: {result.source!r}: {result.repeated} of {result.frames} frames "
        f"{'is' if result.repeated == 1 else 'are'} damaged, and the frame before each is shown in its place"
        for result in found[:_LOSS_LINES_MAX]
    ]
    if len(found) > _LOSS_LINES_MAX:
        more = len(found) - _LOSS_LINES_MAX
        lines.append(f"note: damaged frames also in {counted(more, 'other video')}: the JSON report lists them")
    return lines


def _of_other_kinds(plan: Plan) -> str:
    """Return how many of the failures are images and videos in formats that are not read."""
    kinds = by_kind([at.path for at in plan.unreadable if at.other_picture])
    return f", among them {kinds} (in formats that are not read)" if kinds else ""


def _left_out(plan: Plan) -> list[str]:
    """Return by kind how many other files were left out."""
    kinds = by_kind(plan.left_out)
    return [f"left out: {kinds} (neither images nor videos)"] if kinds else []


def lossy_notes(results: Sequence[FileResult]) -> list[str]:
    """Return a line on lossy outputs, in which all pixels have changed."""
    lossy = [result.output for result in results if result.lossy]
    if not lossy:
        return []
    more = f" and {len(lossy) - 1} more" if len(lossy) > 1 else ""
    return [
        f"{lossy[0]!r}{more}: lossy formats (JPEG, AVIF, HEIC, lossy WebP) change all pixels a little, also those "
        "that no mask marks; PNG and TIFF keep those exactly",
    ]


def copied(results: Sequence[FileResult]) -> int:
    """Return how many pictures were copied, since they have no holes."""
    return sum(result.filled == 0 and result.status == "done" for result in results)


def json_report(restored: Restored, strengths: Strengths) -> str:
    """Return the report as one JSON document; after an interruption it lists the files so far."""
    results, plan, restorer = restored.results, restored.plan, restored.restorer
    statuses = [result.status for result in results]
    document = {
        "model": restorer.session.name,
        "provider": provider_of(restored),
        **({} if any(result.node for result in results) else {"provider_note": restorer.provider_note}),
        "overlap": restorer.overlap,
        "strength": strengths.brightness,
        "color_strength": strengths.color,
        "files": [_row(result) for result in results],
        "left_out": [str(path) for path in plan.left_out],
        "totals": {
            "done": statuses.count("done"),
            "copied": copied(results),
            "skipped": statuses.count("skipped"),
            "failed": statuses.count("failed"),
            "left_out": len(plan.left_out),
            "not_reached": not_reached(results, plan),
            "seconds": restored.seconds,
            "megapixels": megapixels(results),
        },
    }
    return json.dumps(document, indent=2)


def _row(result: FileResult) -> dict[str, Any]:
    """Return the report's entry for a file."""
    row = asdict(result)
    if not result.node:
        del row["node"]
    return row


def provider_of(restored: Restored) -> str:
    """Return the provider that cleaned: on a cluster, that of the first file."""
    return next((result.provider for result in restored.results if result.node), restored.restorer.provider)


def megapixels(results: Sequence[FileResult]) -> float:
    """Return how many million pixels were cleaned, in all frames and pages."""
    done = [result for result in results if result.status == "done"]
    return sum(result.pixels or 0 for result in done) / 1e6


def not_reached(results: Sequence[FileResult], plan: Plan) -> int:
    """Return how many files have no result because the call was interrupted."""
    return len(plan.jobs) + len(plan.unreadable) - len(results)


def _losses(done: Sequence[FileResult]) -> list[str]:
    """Return what was not kept: one line for all files that lost the same."""
    files: dict[tuple[str, ...], list[str]] = {}
    for result in done:
        if result.dropped:
            files.setdefault(result.dropped, []).append(result.source)
    lines = []
    for dropped, sources in files.items():
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        lines.append(f"not kept from {sources[0]!r}{more}: {', '.join(dropped)}")
    if len(lines) > _LOSS_LINES_MAX:
        lines[_LOSS_LINES_MAX:] = ["other files lost something else: the JSON report lists what"]
    return lines


def note_lines(notes: Sequence[tuple[str, Note]], where: str = "") -> list[str]:
    """Return a line for each kind of note: that of the first image, and how many more have one.

    Args:
        notes: each with its image.
        where: the others are, to follow their number.
    """
    kinds: dict[str, list[str]] = {}
    for source, note in notes:
        kinds.setdefault(note.kind, []).append(f"note: {source!r}: {note.text}")
    return [lines[0] + (f" (and {len(lines) - 1} more{where})" if len(lines) > 1 else "") for lines in kinds.values()]


def _count(results: Sequence[FileResult]) -> str:
    """Return the number of images and videos in words."""
    videos = [result for result in results if result.frames is not None]
    images = len(results) - len(videos)
    words = [counted(images, "image")] if images else []
    if videos:
        frames = sum(result.frames or 0 for result in videos)
        words.append(f"{counted(len(videos), 'video')} ({counted(frames, 'frame')})")
    return " and ".join(words)
