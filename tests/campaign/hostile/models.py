"""Mutated models through `cae-run` and the readers of `model.pt`: no code runs, no other file is read.

`cae-run` gives all models of a command half of the machine's memory. It takes the machine to have `MACHINE` bytes here,
so that half of it is less than the worker's address space and can be reached. The whole process may take 1 GiB more.
"""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tests.campaign.corpora.models import onnx_files, tensor_files
from tests.campaign.corpora.pictures import scene
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.traps import SECONDS, SecretFile
from tests.campaign.harness.workers import Ran, Worker
from tests.campaign.mutations.protobuf import onnx_changed
from tests.campaign.mutations.tensors import tensor_file_changed

from cae_runtime.errors import ImageError
from cae_runtime.io.image_files import decode

MACHINE: Final = 4 * 2**30  # bytes of memory that `cae-run` takes the machine to have
MEMORY_MAX: Final = MACHINE // 2 + 2**30  # bytes, of the whole process
_TENSORS: Final = 0.2  # share of the cases
_CODES: Final = {0, 1, 2, 3}


@dataclass(frozen=True)
class _Case:
    number: int
    name: str
    data: bytes
    package: str
    words: tuple[object, ...]

    @property
    def pictures(self) -> int:
        """How many pictures its command makes."""
        return 3 if "--generate" in self.words else 1


class Campaign:
    """Mutated models, one call of a command each.

    Args:
        settings: of the run.
        outcome: what is counted and found.
    """

    def __init__(self, settings: Settings, outcome: Outcome) -> None:
        self.settings, self.outcome = settings, outcome
        self.folder = settings.folder / "models"
        self.secret, self.mark = SecretFile(self.folder / "secret.bin"), self.folder / "code-ran"
        self.graphs, self.tensors = onnx_files(), tensor_files()
        self.names = sorted(self.graphs)
        self.most = 0

    def case(self, number: int) -> _Case:
        """Return a case: a file, and the command that opens it."""
        rng = np.random.default_rng([self.settings.seed, number, 3])
        folder = self.folder / "work"
        if rng.random() < _TENSORS:
            data = tensor_file_changed(self.tensors[int(rng.integers(len(self.tensors)))], rng, str(self.mark))
            return _Case(number, "model.pt", data, "tests.campaign.reading", (folder / "model.pt",))
        name = self.names[int(rng.integers(len(self.names)))]
        other = self.graphs[self.names[int(rng.integers(len(self.names)))]]
        data = onnx_changed(self.graphs[name], other, rng, str(self.secret.path))
        words: tuple[object, ...] = (folder / "in.png", "-o", folder / "out")
        if name == "generate" and rng.random() < 0.8:
            words = ("--generate", 3, "-o", folder / "out")
        elif name.startswith("encode"):
            words = (folder / "in.png", "-o", folder / "out.csv")
        elif "inpaint" in name or name == "fill":
            words = (folder / "in.png", "-o", folder / "out", "--mask-color", "#000000")
        return _Case(number, "model.onnx", data, "cae_runtime", (*words, "-m", folder / "model.onnx", "--threads", 1))

    def run(self, worker: Worker, number: int) -> None:
        """Run a case and look at what became of it."""
        case = self.case(number)
        work = self._laid_out(case)
        ran = worker.run(case.package, case.words, SECONDS, cwd=str(work))
        self.outcome.cases += 1
        self.most = max(self.most, ran.memory)
        self.outcome.counts[f"{case.name}: exit code {ran.code}"] += 1
        if wrong := self._wrong(ran, case, work):
            self.outcome.found(number, wrong[0], case.name, wrong[1])
            self.settings.keep(f"{self.settings.seed}-{number}-{case.name}", case.data)

    def _laid_out(self, case: _Case) -> Path:
        """Write the case's files beside one that no model may open."""
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder / "work"
        work.mkdir(parents=True)
        self.secret.lay(np.full(2**16, 0.5, "<f4").tobytes())
        os.mkfifo(work / "fifo")
        (work / case.name).write_bytes(case.data)
        cv2.imwrite(str(work / "in.png"), scene())
        return work

    def _wrong(self, ran: Ran, case: _Case, work: Path) -> tuple[str, str] | None:
        if wrong := ran.problem(_CODES):
            return wrong
        if self.mark.exists():
            return "code", "code in the file ran"
        if self.secret.was_read():
            return "touched", "a file outside was read"
        if extra := {path.name for path in self.folder.iterdir()} - {"work", self.secret.path.name}:
            return "touched", f"files outside were written: {extra}"
        known = {"in.png", "fifo", "model.onnx", "model.pt", "out", "out.csv"}
        if extra := {path.name for path in work.iterdir()} - known:
            return "left", f"files were left or written: {extra}"
        if ran.code == 2 and (refused := _not_one_line(ran.err)):
            return "message", refused
        if ran.code and (work / "out").is_dir() and any((work / "out").iterdir()):
            return "left", f"exit code {ran.code}, and outputs: {[*(work / 'out').iterdir()][:3]}"
        if ran.memory > MEMORY_MAX:
            return "memory", f"{ran.memory / 2**20:.0f} MiB, {MEMORY_MAX >> 20} are the limit"
        if ran.code == 0 and case.package == "cae_runtime" and (broken := broken_output(work, case.pictures)):
            return "output", f"exit code 0, and {broken}"
        return None


def broken_output(work: Path, pictures: int) -> str:
    """Return what is wrong with the pictures or the table of a command that succeeded; empty: nothing.

    Args:
        work: the folder that it ran in, with `in.png`.
        pictures: how many it should have made, unless it judged one: then there are a heat map and a sheet.
    """
    table = work / "out.csv"
    if table.is_file():
        header, *rows = csv.reader(io.StringIO(table.read_text(encoding="utf-8"), newline=""))
        good = len(rows) == 1 and len(rows[0]) == len(header) > 1 and all(math.isfinite(float(w)) for w in rows[0][1:])
        return "" if good else f"the table is {rows}"[:300]
    shapes = {}
    for path in sorted((work / "out").glob("*.png")):
        try:
            pixels = decode(path.read_bytes()).pixels
        except ImageError as e:
            return f"{path.name} cannot be read: {e}"
        if pixels.dtype != np.uint8:
            return f"{path.name} is of type {pixels.dtype}"
        shapes[path.name] = pixels.shape
    if (work / "out" / "scores.csv").exists():
        return "" if len(shapes) == 2 else f"there are the heat maps {shapes}"
    if pictures > 1 and len([name for name in shapes if name.endswith("-sheet.png")]) == 1:
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith("-sheet.png")}
    right = len({*shapes.values()}) == 1 if pictures > 1 else {*shapes.values()} == {scene().shape}
    return "" if len(shapes) == pictures and right else f"there are the pictures {shapes}"


def _not_one_line(err: bytes) -> str:
    """Return what is wrong with the message of a model that is refused."""
    lines = err.decode(errors="replace").strip().splitlines()
    if not lines:
        return "no message"
    if len(lines) > 3:
        return f"{len(lines)} lines: {lines[:4]}"
    longest = max(map(len, lines))
    return f"a line of {longest} characters: {lines[-1][:300]}" if longest > 3000 else ""


def run(settings: Settings) -> Outcome:
    """Run mutated models until the time or the cases are used up."""
    outcome = Outcome("models", settings.seed)
    began = time.monotonic()
    campaign = Campaign(settings, outcome)
    with Worker(memory=MACHINE) as worker:
        for number in settings.numbers():
            campaign.run(worker, number)
            settings.tell(outcome)
        outcome.notes.append(
            f"{len(campaign.graphs)} ONNX files and {len(campaign.tensors)} tensor files were changed; most memory "
            f"{campaign.most / 2**20:.0f} MiB; {worker.deaths} processes died or hung"
        )
    outcome.seconds = time.monotonic() - began
    return outcome
