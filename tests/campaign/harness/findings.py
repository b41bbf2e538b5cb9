"""What a campaign counts, and what it finds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

# Control characters (C0, DEL, C1), those that turn the direction of text around, ends of lines and paragraphs, and
# bytes that are no UTF-8, which Python decodes to U+DC80 to U+DCFF.
_RAW: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")
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
        not_run: why the part did not run at all; empty: it ran.
        seconds: how long it took.
    """

    part: str
    seed: int
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_run: str = ""
    seconds: float = 0.0

    def found(self, case: int, kind: str, subject: str, detail: str) -> None:
        """Remember a finding, and say it at once."""
        self.findings.append(Finding(case, kind, subject, detail))
        shown = " ".join(detail.split())
        shown = shown if len(shown) < 600 else f"{shown[:200]} ... {shown[-400:]}"
        print(f"{self.part} --seed {self.seed} --only {case}: {kind}: {subject}: {shown}", flush=True)


def what_is_wrong_with(err: bytes) -> str:
    """Return what a user should not have to read on stderr: tracebacks, warnings of Python, raw characters.

    Raw characters are those that a terminal may act on, and bytes that are no UTF-8.
    """
    text = err.decode("utf-8", "backslashreplace")
    if found := _TOLD.search(text):
        return f"says {found[0]!r}: {text[-2500:]}"
    if found := _RAW.search(err.decode("utf-8", "surrogateescape")):
        return f"writes the raw character {found[0]!a}: {err[:300]!r}"
    return ""
