"""What a call has found in a folder of pictures, and the lines that tell the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cae_runtime.jobs.heat_maps.separation import Separation
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.heat_maps.threshold import Limit
from cae_shared.text import counted


@dataclass(frozen=True)
class Found:
    """The results of the pictures of this call.

    Attributes:
        scored: the verdicts of those that have a score, also of an earlier call, worst first.
        failed: of the pictures that could not be read or scored.
        notes: remarks for the user.
        provider: of a cluster's workers.
    """

    scored: list[Verdict]
    failed: list[Verdict]
    notes: list[str]
    provider: str = ""

    @property
    def anomalies(self) -> int:
        """The number of pictures that are anomalies, not counting the known bad ones."""
        return sum(bool(verdict.anomaly) for verdict in self.scored if not verdict.label)

    def scores(self, label: str) -> list[float]:
        """Return the scores of the pictures of a label."""
        return [verdict.score for verdict in self.scored if verdict.label == label and verdict.score is not None]


def summary(found: Found, limit: Limit, split: Separation | None, provider: str, output: Path) -> Iterator[str]:
    """Yield the lines for the user."""
    if not found.scored:
        return
    yield from (f"note: {note}" for note in found.notes)
    usual = len(found.scores(""))
    skipped = sum(verdict.status == "skipped" for verdict in found.scored)
    before = f" ({skipped} from an earlier call)" if skipped else ""
    what = "is an anomaly" if found.anomalies == 1 else "are anomalies"
    verdict = f"{found.anomalies} of {counted(usual, 'image')}{before} {what}"
    if usual == 1:
        verdict = f"1 image{before}: it is {'an' if found.anomalies else 'no'} anomaly"
    failed = f", {len(found.failed)} failed" if found.failed else ""
    yield f"{verdict}{failed}; the threshold is {limit.threshold:.4g}, {limit.described}; {provider} -> {output}/"
    if split is not None:
        yield (
            f"{split.found:.1%} of the bad images are found, AUROC {split.auroc:.3f}; the threshold "
            f"{split.best_threshold:.4g} separates best: {split.best_found:.1%} of the bad and "
            f"{split.best_false_alarms:.1%} of the others are above it"
        )
