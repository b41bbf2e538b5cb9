"""Mutated pictures, clips and settings through what `cae-train` reads, and now and then through the whole command."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np
from tests.campaign.corpora.clips import clips, playlists
from tests.campaign.corpora.pictures import PICTURES, picture, scene
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.traps import SECONDS, SecretFile, was_called
from tests.campaign.harness.workers import Ran, Worker
from tests.campaign.mutations.files import mutated
from tests.campaign.mutations.toml import toml_changed

RECIPES: Final = Path(__file__).parents[3] / "assets" / "recipes"
MEMORY_MORE: Final = 2**30 + 2**28 * 6  # bytes above the least: a picture of 2^28 pixels is decoded, and turned
_SETTINGS, _CLIPS, _PLAYLISTS, _WHOLE = 0.25, 0.1, 0.05, 0.004  # shares of the cases; the others are pictures
_TOGETHER: Final = 30  # pictures of a whole command
_SUFFIXES: Final = ("bmp", "jpg", "png", "ppm", "tif", "webp")
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Case:
    kind: str
    files: dict[str, bytes]
    package: str
    words: tuple[object, ...]


class Campaign:
    """Mutated files, one call of a reader each.

    Args:
        settings: of the run.
        outcome: what is counted and found.
        port: of this computer, that nothing may connect to.
    """

    def __init__(self, settings: Settings, outcome: Outcome, port: int) -> None:
        self.settings, self.outcome = settings, outcome
        self.folder = settings.folder / "training"
        self.secret = SecretFile(self.folder / "secret.mp4")
        self.pictures, self.clips = [picture(name) for name in sorted(PICTURES)], clips()
        self.lists = [*playlists(str(self.secret.path), port, self.clips["h264.mp4"]).values()]
        self.recipes = [path.read_text().splitlines() for path in sorted(RECIPES.glob("*.toml"))]
        self.lines = [line for lines in self.recipes for line in lines if "=" in line]
        self.good = cv2.imencode(".png", cv2.resize(scene(), (64, 64)))[1].tobytes()
        self.least = self.most = 0

    def case(self, number: int) -> _Case:
        """Return a case."""
        rng = np.random.default_rng([self.settings.seed, number, 9])
        share = rng.random()
        if share < _WHOLE:
            files = {f"in/{at}.{_one(_SUFFIXES, rng)}": self._picture(rng) for at in range(_TOGETHER)}
            files |= {f"in/good-{at}.png": self.good for at in range(2)}
            words = ("--data", "in", "--preview-degradation", "sheet.png")
            return _Case("whole command", files, "cae_train", words)
        if (share := share - _WHOLE) < _SETTINGS:
            name, data = "c.toml", toml_changed(_one(self.recipes, rng), self.lines, rng)
        elif (share := share - _SETTINGS) < _CLIPS:
            chosen = _one(sorted(self.clips), rng)
            name = f"clip.{chosen.rpartition('.')[2]}"
            data = mutated(self.clips[chosen], [*self.clips.values()], rng)
        elif share - _CLIPS < _PLAYLISTS:
            name, data = f"clip.{_one(('mp4', 'mkv', 'avi', 'm3u8'), rng)}", _one(self.lists, rng)
        else:
            name, data = f"picture.{_one(_SUFFIXES, rng)}", self._picture(rng)
        kind = name.rpartition(".")[2] if name.startswith(("c.", "clip.")) else "picture"
        return _Case(kind, {f"in/{name}": data}, "tests.campaign.reading", (f"in/{name}",))

    def _picture(self, rng: np.random.Generator) -> bytes:
        return mutated(_one(self.pictures, rng), self.pictures, rng)

    def run(self, worker: Worker, number: int) -> None:
        """Run a case and look at what became of it."""
        case = self.case(number)
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder / "work"
        (work / "in").mkdir(parents=True)
        self.secret.lay(self.clips["h264.mp4"])
        for name, data in case.files.items():
            (work / name).write_bytes(data)
        ran = worker.run(case.package, case.words, SECONDS, cwd=str(work))
        self.outcome.cases += 1
        self.least, self.most = min(self.least or ran.memory, ran.memory), max(self.most, ran.memory)
        self.outcome.counts[f"{case.kind}: exit code {ran.code}"] += 1
        if wrong := self._wrong(case, ran, work):
            self.outcome.found(number, wrong[0], case.kind, wrong[1])
            for name, data in case.files.items():
                self.settings.keep(f"{self.settings.seed}-{number}-{Path(name).name}", data)

    def _wrong(self, case: _Case, ran: Ran, work: Path) -> tuple[str, str] | None:
        whole = case.kind == "whole command"
        if wrong := ran.problem({0} if whole else {0, 2}):
            return wrong
        if self.secret.was_read():
            return "touched", "a file outside was read"
        if ran.code == 2 and len(ran.err.decode().splitlines()) != 1:
            return "message", repr(ran.err[:500])
        if ran.memory > self.least + MEMORY_MORE:
            return "memory", f"{ran.memory / 2**20:.0f} MiB, the least was {self.least / 2**20:.0f}"
        if whole and not (work / "sheet.png").is_file():
            return "lost", "the sheet is missing"
        left = {path.name for path in work.iterdir()} - {"in", "sheet.png"}
        return ("left", f"files were left or written: {left}") if left else None


def _one(values: Sequence[_T], rng: np.random.Generator) -> _T:
    return values[int(rng.integers(len(values)))]


def run(settings: Settings) -> Outcome:
    """Run mutated files until the time or the cases are used up."""
    outcome = Outcome("training", settings.seed)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening, Worker() as worker:
        listening.setblocking(False)
        campaign = Campaign(settings, outcome, listening.getsockname()[1])
        for number in settings.numbers():
            campaign.run(worker, number)
            if was_called(listening):
                outcome.found(number, "touched", "a playlist", "a port of this computer was connected to")
            settings.tell(outcome)
        outcome.notes.append(
            f"memory {campaign.least / 2**20:.0f} to {campaign.most / 2**20:.0f} MiB; {worker.deaths} processes died "
            "or hung"
        )
    outcome.seconds = time.monotonic() - began
    return outcome
