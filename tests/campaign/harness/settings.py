"""What is asked of a campaign."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.campaign.harness.findings import Outcome

_TOLD_EVERY: Final = 60.0  # seconds


@dataclass
class Settings:
    """What is asked of one part of a campaign.

    Attributes:
        seed: decides all cases.
        folder: for files, emptied and removed afterwards.
        minutes: how long it may take; None: until `cases` are done.
        cases: how many are run at most.
        only: the one case to repeat.
        first: the first case.
        findings: folder for files that something was found with; None: they are not kept.
        pictures: of the kinds in `tests.campaign.corpora.pictures` those that `images` changes; empty: all.
        began: when the first case began, by the monotonic clock; until then, when this was made.
    """

    seed: int
    folder: Path
    minutes: float | None = None
    cases: int | None = None
    only: int | None = None
    first: int = 0
    findings: Path | None = None
    pictures: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def numbers(self, step: int = 1) -> Iterator[int]:
        """Yield the first number of each call, until time or cases are used up; the clock starts with the first."""
        self.began = time.monotonic()
        if self.only is not None:
            yield self.only
            return
        case = self.first - self.first % step
        while (self.cases is None or case < self.first + self.cases) and not self.is_over():
            yield case
            case += step

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes

    def keep(self, name: str, data: bytes) -> None:
        """Keep a file that something was found with."""
        if self.findings is not None:
            self.findings.mkdir(parents=True, exist_ok=True)
            (self.findings / name).write_bytes(data)

    def tell(self, outcome: Outcome) -> None:
        """Print once a minute how far it is."""
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            print(f"{outcome.part}: {outcome.cases} cases, {len(outcome.findings)} findings", flush=True)
