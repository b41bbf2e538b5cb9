"""Messages about files that failed, and counts of files by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cae_runtime.jobs.planning import Plan
from cae_runtime.jobs.walking import Unreadable
from cae_runtime.places.address import Place
from cae_shared.text import counted


def failures(failed: Sequence[tuple[str, str]], plan: Plan) -> list[str]:
    """Return a line for each file that failed, and one line for all images in a format that is not read.

    Args:
        failed: the files, each with the reason; those that `plan` says are of such kinds are among them.
        plan: the work of the call.
    """
    kinds: dict[str, list[Unreadable]] = {}
    for at in plan.unreadable:
        if at.other_picture:
            kinds.setdefault(at.path.suffix.lower(), []).append(at)
    grouped = {str(at.path) for found in kinds.values() for at in found}
    lines = [f"failed: {source!r} {reason}" for source, reason in failed if source not in grouped]
    for kind, found in kinds.items():
        others = len(found) - 1
        more = f". The same holds for {counted(others, f'other {kind} file')}" if others else ""
        lines.append(f"failed: {str(found[0].path)!r} {found[0].reason}{more}")
    return lines


def by_kind(paths: Sequence[Place]) -> str:
    """Return how many files there are of each suffix, in words; empty where there are no files."""
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in paths)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
