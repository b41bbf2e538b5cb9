"""What a campaign counts, and what it finds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_RAW: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_TOLD: Final = re.compile(r"Traceback|\w+Warning:|Exception ignored|^\s+File \"", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """A promise that was not kept.

    Attributes:
        case: the number that repeats it, with the campaign's seed.
        kind: in one word: `crash`, `hang`, `memory`, `traceback`, `lost`, ...
        subject: the file or command.
        detail: what was seen.
    """

    case: int
    kind: str
    subject: str
    detail: str


@dataclass
class Outcome:
    """The result of a part of the campaign.

    Attributes:
        part: its name.
        seed: that repeats all of it.
        cases: how many were run.
        counts: what came out, by kind.
        findings: promises that were not kept.
        notes: lines for the report.
        seconds: how long it took.
    """

    part: str
    seed: int
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def found(self, case: int, kind: str, subject: str, detail: str) -> None:
        """Remember a finding, and say it at once."""
        self.findings.append(Finding(case, kind, subject, detail))
        shown = " ".join(detail.split())
        shown = shown if len(shown) < 600 else f"{shown[:200]} ... {shown[-400:]}"
        print(f"{self.part} --seed {self.seed} --only {case}: {kind}: {subject}: {shown}", flush=True)


def what_is_wrong_with(err: bytes) -> str:
    """Return what a user should not have to read on stderr: tracebacks, warnings of Python, raw control characters."""
    text = err.decode("utf-8", "backslashreplace")
    if found := _TOLD.search(text):
        return f"says {found[0]!r}: {text[-2500:]}"
    if _RAW.search(err):
        return f"writes raw control characters: {err[:300]!r}"
    return ""
