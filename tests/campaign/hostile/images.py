"""Mutated pictures of every kind through `cae-run`: each ends in a whole output or in one line, whatever it holds.

The memory of a call may be what the call with the honest files takes, and 1 GiB, and 40 bytes for each pixel that was
decoded as its report says, but never more than `MEMORY_MAX`. That is 2 GiB below the worker's address space: beyond
this a command sees a `MemoryError`, so a limit above it could not be reached.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tests.campaign.corpora.pictures import PICTURES, family_of, picture
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.workers import ADDRESS_SPACE, Ran, Worker
from tests.campaign.hostile.image_outputs import damage, wrong_output
from tests.campaign.mutations.files import mutated
from tests.campaign.mutations.generic import Rng

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
TOGETHER: Final = 40  # files of one call of the command
MEMORY_MORE: Final = 2**30  # bytes above what the honest files take
PIXEL_BYTES: Final = 40  # that a pixel may take besides; JPEG 2000 takes the most
MEMORY_MAX: Final = ADDRESS_SPACE - 2 * 2**30  # bytes that no call may take
SECONDS: Final = 30.0  # of CPU time that a single small file may take
GOOD: Final = ("told.png", "told.jpg")


@dataclass(frozen=True)
class Use:
    """A way to use the command on a folder.

    Attributes:
        name: how it is counted.
        model: of the tests' tiny models.
        options: what is typed.
        output: what `-o` names within the case's folder; empty: there is none.
        files: whether each picture becomes a file.
    """

    name: str
    model: str
    options: tuple[str, ...] = ()
    output: str = "out"
    files: bool = True


USES: Final = (
    *[Use("same format", "identity", ("--json",))] * 6,
    Use("to PNG", "half_red", ("--json", "--ext", "png")),
    Use("to JPEG", "blur", ("--json", "--ext", "jpg")),
    Use("to TIFF", "identity", ("--json", "--ext", "tif")),
    Use("to WebP", "identity", ("--json", "--ext", "webp")),
    Use("to AVIF", "identity", ("--json", "--ext", "avif")),
    Use("to JPEG 2000", "identity", ("--json", "--ext", "jp2")),
    Use("to HEIC", "identity", ("--json", "--ext", "heic")),
    Use("to BMP", "identity", ("--json", "--ext", "bmp")),
    Use("analyze", "half_red", ("--analyze", "--json"), "", files=False),
    Use("features", "encode", (), "table.csv", files=False),
    Use("anomalies", "anomaly", ("--json",), "maps", files=False),
    Use("contact sheet", "half_red", ("--sheet", "sheet.png"), "", files=False),
)
SAME: Final = USES[0]


class Campaign:
    """Mutated pictures, in calls of many files.

    Args:
        settings: of the run.
        outcome: what is counted and found.
    """

    def __init__(self, settings: Settings, outcome: Outcome) -> None:
        self.settings, self.outcome = settings, outcome
        self.honest = {name: picture(name) for name in PICTURES}
        self.names = sorted(settings.pictures or self.honest)
        self.good: dict[str, dict[str, bytes]] = {}  # by use: what becomes of the good files
        self.honest_memory: dict[str, int] = {}
        self.most = 0

    def use_of(self, case: int) -> Use:
        """Return how the call that a case belongs to uses the command."""
        rng = np.random.default_rng([self.settings.seed, case // TOGETHER, 1])
        return USES[int(rng.integers(len(USES)))]

    def kind_of(self, case: int) -> str:
        """Return the name of the honest file that a case's file is made from."""
        return self._kind(np.random.default_rng([self.settings.seed, case, 2]))

    def _kind(self, rng: Rng) -> str:
        return self.names[int(rng.integers(len(self.names)))]

    def file_of(self, case: int) -> tuple[str, bytes]:
        """Return name and content of a case's file."""
        rng = np.random.default_rng([self.settings.seed, case, 2])
        name = self._kind(rng)
        family = family_of(name)
        others = [data for other, data in self.honest.items() if family_of(other) == family or rng.random() < 0.05]
        ending = name.rpartition(".")[2]
        if rng.random() < 0.03:  # the name says something else
            ending = self._kind(rng).rpartition(".")[2]
        return f"{case:08}.{ending}", mutated(self.honest[name], others, rng)

    def call(self, worker: Worker, files: dict[str, bytes], use: Use, seconds: float) -> tuple[Ran, Path]:
        """Run the command on files and the two good ones; return what it did, and its folder."""
        folder = self.settings.folder / "images"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "in").mkdir(parents=True)
        for name, data in files.items():
            (folder / "in" / name).write_bytes(data)
        for name in GOOD:
            (folder / "in" / name).write_bytes(self.honest[name])
        where = ["-o", folder / use.output] if use.output else []
        words = [folder / "in", *where, "-m", FIXTURES / f"{use.model}.onnx", "--threads", "1", *use.options]
        return worker.run("cae_runtime", words, seconds, cwd=str(folder)), folder

    def learn(self, worker: Worker, use: Use) -> None:
        """See what becomes of honest files in a use, once."""
        if use.name in self.honest_memory:
            return
        ran, folder = self.call(worker, self.honest, use, 600)
        self.honest_memory[use.name] = ran.memory
        if wrong := self._wrong(ran, self.honest, use, folder, learning=True):
            self.outcome.found(-1, wrong[0], f"honest files, {use.name}", wrong[1])
        if use is SAME and (failed := [each for each in _report(ran)["files"] if each["status"] != "done"]):
            self.outcome.found(-1, "lost", "honest files", str([(f["source"], f["reason"]) for f in failed]))
        if use.files:
            self.good[use.name] = _outputs(self.call(worker, {}, use, 600)[1] / "out")

    def run(self, worker: Worker, cases: Sequence[int], *, alone: bool = False) -> None:
        """Run the cases of one call; where something is wrong, each alone to see whose fault it is."""
        use = self.use_of(cases[0])
        self.learn(worker, use)
        files = dict(self.file_of(case) for case in cases)
        ran, folder = self.call(worker, files, use, SECONDS * (1 if alone else 3))
        wrong = self._wrong(ran, files, use, folder)
        if not wrong:
            self._count(ran, use, len(cases))
            return
        if not alone and len(cases) > 1:
            before = len(self.outcome.findings)
            for case in cases:
                self.run(worker, [case], alone=True)
            if len(self.outcome.findings) > before:
                return
        self.outcome.cases += len(cases) == 1  # otherwise each was counted alone
        subject = f"{', '.join(files)[:60]} ({use.name})"
        self.outcome.found(
            cases[0], wrong[0], subject if len(cases) == 1 else f"{len(cases)} files, {subject}", wrong[1]
        )
        if len(cases) == 1:
            (name, data), *_ = files.items()
            self.settings.keep(f"{self.settings.seed}-{name}", data)

    def _count(self, ran: Ran, use: Use, cases: int) -> None:
        self.outcome.cases += cases
        self.most = max(self.most, ran.memory)
        if not use.files:
            self.outcome.counts[use.name] += cases
            return
        for each in _report(ran)["files"]:
            name = Path(each["source"]).name
            if name not in GOOD:
                kind = self.kind_of(int(name[:8])) if self.settings.pictures else family_of(name)
                self.outcome.counts[f"{kind} {each['status']}"] += 1

    def _wrong(
        self, ran: Ran, files: dict[str, bytes], use: Use, folder: Path, *, learning: bool = False
    ) -> tuple[str, str] | None:
        """Return the kind and the details of the first promise that was not kept."""
        if wrong := ran.problem({0, 1}):
            return wrong
        limit = memory_limit(self.honest_memory.get(use.name), _pixels(ran))
        if ran.memory > limit:
            return "memory", f"{ran.memory / 2**20:.0f} MiB, {limit / 2**20:.0f} are enough for their pixels"
        if not use.files:
            return wrong_output(use.name, ran, {*files, *GOOD}, GOOD, folder)
        return self._wrong_outputs(ran, files, use, folder, learning)

    def _wrong_outputs(
        self, ran: Ran, files: dict[str, bytes], use: Use, folder: Path, learning: bool
    ) -> tuple[str, str] | None:
        try:
            report = _report(ran)
        except ValueError as e:
            return "report", f"{e}: {ran.out[:300]!r}"
        told = {Path(each["source"]).name: each for each in report["files"]}
        if set(told) != {*files, *GOOD} or len(report["files"]) != len(told):
            return "report", f"is about other files: {sorted(set(told) ^ {*files, *GOOD})}"
        failed = [each for each in told.values() if each["status"] == "failed"]
        if ran.code != bool(failed):
            return "code", f"exit code {ran.code} with {len(failed)} failed files"
        if blurred := [each["reason"] for each in failed if not each["reason"] or not each["reason"].isprintable()]:
            return "message", repr(blurred[0])
        outputs = {path.name for path in (folder / "out").iterdir()}
        wanted = {Path(each["output"]).name for each in told.values() if each["status"] == "done"}
        if outputs != wanted:
            return "lost", f"outputs that are missing or too many: {sorted(outputs ^ wanted)[:5]}"
        if not learning and not self.good[use.name].items() <= _outputs(folder / "out").items():
            return "lost", "the good files among them came out different"
        for each in told.values():
            if each["status"] == "done" and not learning and (why := damage(Path(each["output"]))):
                return "output", f"{Path(each['source']).name} was written and cannot be read: {why}"
        return None


def run(settings: Settings) -> Outcome:
    """Run mutated pictures until the time or the cases are used up."""
    outcome = Outcome("images", settings.seed)
    began = time.monotonic()
    campaign = Campaign(settings, outcome)
    with Worker() as worker:
        for cases in _calls(settings):
            campaign.run(worker, cases, alone=len(cases) == 1)
            settings.tell(outcome)
        outcome.counts["decoder processes that died or hung"] = worker.deaths
    outcome.seconds = time.monotonic() - began
    if settings.pictures:
        outcome.notes.append("to repeat a case, add " + " ".join(f"--picture {name}" for name in settings.pictures))
    honest = max(campaign.honest_memory.values(), default=0) / 2**20
    outcome.notes.append(
        f"{len(campaign.names)} honest files, {len(dict.fromkeys(USES))} uses; most memory "
        f"{campaign.most / 2**20:.0f} MiB "
        f"(honest files: {honest:.0f} MiB)"
    )
    return outcome


def _calls(settings: Settings) -> Iterator[list[int]]:
    for first in settings.numbers(TOGETHER):
        yield [first] if settings.only is not None else [*range(first, first + TOGETHER)]


def _report(ran: Ran) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(ran.out)
    return found


def memory_limit(honest: int | None, pixels: int) -> int:
    """Return the bytes that a call may take.

    Args:
        honest: those that the call with the honest files takes; None: that is not known yet.
        pixels: that were decoded.
    """
    return MEMORY_MAX if honest is None else min(MEMORY_MAX, honest + MEMORY_MORE + PIXEL_BYTES * pixels)


def _pixels(ran: Ran) -> int:
    """Return how many pixels were decoded, as far as the report says."""
    try:
        return sum(int(each["pixels"] or 0) for each in _report(ran)["files"])
    except (KeyError, TypeError, ValueError):  # another report, or none
        return 0


def _outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
