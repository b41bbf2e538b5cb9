"""What `cae-run` has to tell of its work: progress, failures and a summary, a JSON document. `cli.py` prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from cae_runtime.batch import FileResult
from cae_runtime.plan import Plan
from cae_runtime.restorer import Restorer


def with_progress(results: Iterator[FileResult], total: int) -> Iterator[FileResult]:
    """Pass results on, behind a progress bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("cleaning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        yield from progress.track(results, total=total)


def summary(results: Sequence[FileResult], plan: Plan, provider: str, seconds: float) -> list[str]:
    """Return the failures, what was lost, and one line on the whole."""
    done = [result for result in results if result.status == "done"]
    failed = [result for result in results if result.status == "failed"]
    lines = [f"failed: {result.source!r} {result.reason}" for result in failed]
    losses = [result for result in done if result.dropped]
    if losses:
        kinds = ", ".join(sorted({kind for result in losses for kind in result.dropped}))
        lines.append(f"metadata that did not come along in {_count(len(losses))}: {kinds}")
    speed = f" in {seconds:.1f} s, {megapixels(done) / max(seconds, 1e-9):.2f} Mpx/s" if done else ""
    target = plan.jobs[0].output if plan.names_file else f"{plan.folder}/"
    skipped = sum(result.status == "skipped" for result in results)
    notes = [
        f"{number} {words}"
        for number, words in (
            (skipped, "skipped, their outputs exist (--overwrite replaces them)"),
            (len(failed), "failed"),
            (plan.left_out, "left out, no image"),
            (not_reached(results, plan), "not reached"),
        )
        if number
    ]
    line = f"cleaned {_count(len(done))}{speed}, {provider} -> {target}"
    return [*lines, "; ".join([line, *notes])]


def json_report(
    results: Sequence[FileResult], plan: Plan, restorer: Restorer, model: str, strength: float, seconds: float
) -> str:
    """Return the report as one JSON document; of an interrupted call it tells of the files so far."""
    statuses = [result.status for result in results]
    document = {
        "model": model,
        "provider": restorer.provider,
        "provider_note": restorer.provider_note,
        "overlap": restorer.overlap,
        "strength": strength,
        "files": [asdict(result) for result in results],
        "totals": {
            "done": statuses.count("done"),
            "skipped": statuses.count("skipped"),
            "failed": statuses.count("failed"),
            "left_out": plan.left_out,
            "not_reached": not_reached(results, plan),
            "seconds": seconds,
            "megapixels": megapixels(results),
        },
    }
    return json.dumps(document, indent=2)


def megapixels(results: Sequence[FileResult]) -> float:
    """Return the size of what was cleaned, in millions of pixels."""
    return sum((result.width or 0) * (result.height or 0) for result in results if result.status == "done") / 1e6


def not_reached(results: Sequence[FileResult], plan: Plan) -> int:
    """Return how many files of the plan have no result, because the call was interrupted."""
    return len(plan.jobs) + len(plan.unreadable) - len(results)


def _count(number: int) -> str:
    return f"{number} image" if number == 1 else f"{number} images"
