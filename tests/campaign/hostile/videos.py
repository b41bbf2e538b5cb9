"""Mutated clips, playlists in disguise, streams that stop: each ends in a whole file or in one line.

A stream comes out as it went in, since the model changes nothing: all of it if the command succeeds, and otherwise
whole frames from its start. So the output of a stream without frames is its first line, and never empty.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import time
from pathlib import Path
from typing import Final

import av
import numpy as np
from tests.campaign.corpora.clips import Frames, clips, playlists, stream
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.traps import SECONDS, SecretFile, was_called
from tests.campaign.harness.workers import Ran, Worker
from tests.campaign.mutations.files import mutated
from tests.campaign.mutations.generic import blind, surely

from cae_runtime.errors import VideoError
from cae_runtime.video import y4m

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
MEMORY_MORE: Final = 2**30  # bytes above what the honest clips take
GOOD: Final = "good.mkv"
_STREAMS, _PLAYLISTS = 0.15, 0.1  # shares of the cases
_SECONDS: Final = 5 * SECONDS  # a small file may hold tens of thousands of frames
_MODEL: Final = ("-m", FIXTURES / "identity.onnx", "--threads", 1)


class Campaign:
    """Mutated clips, one call of the command each.

    Args:
        settings: of the run.
        outcome: what is counted and found.
        port: of this computer, that nothing may connect to.
    """

    def __init__(self, settings: Settings, outcome: Outcome, port: int) -> None:
        self.settings, self.outcome = settings, outcome
        self.folder = settings.folder / "videos"
        self.secret = SecretFile(self.folder / "secret.mp4")
        self.clips = clips()
        self.names = sorted(self.clips)
        self.lists = playlists(str(self.secret.path), port, self.clips["h264.mp4"])
        self.good: object = None
        self.honest_memory = self.most = 0

    def file_of(self, number: int) -> tuple[str, bytes]:
        """Return kind and content of a case's file; the kind is the ending of its name."""
        rng = np.random.default_rng([self.settings.seed, number, 6])
        kind = rng.random()
        if kind < _STREAMS:
            data = stream()
            return "y4m", surely(lambda: _stream_changed(data, rng), data)
        if kind < _STREAMS + _PLAYLISTS:
            names = sorted(self.lists)
            return str(rng.choice(["mp4", "mkv", "avi", "mov", "webm"])), self.lists[
                names[int(rng.integers(len(names)))]
            ]
        name = self.names[int(rng.integers(len(self.names)))]
        ending = name.rpartition(".")[2]
        others = [data for other, data in self.clips.items() if other.endswith(ending) or rng.random() < 0.2]
        return ending, mutated(self.clips[name], others, rng)

    def call(self, worker: Worker, kind: str, data: bytes) -> tuple[Ran, Path]:
        """Run the command on a file and a good one, or on a stream."""
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder / "work"
        (work / "in").mkdir(parents=True)
        self.secret.lay(self.clips["h264.mp4"])
        if kind == "y4m":
            words = ("-", "-o", "-", "--no-temporal", *_MODEL)  # so that the model alone could change a frame
            return worker.run("cae_runtime", words, _SECONDS, data, str(work)), work
        (work / "in" / f"bad.{kind}").write_bytes(data)
        (work / "in" / GOOD).write_bytes(self.clips["h264.mkv"])
        return worker.run("cae_runtime", ("in", "-o", "out", "--json", *_MODEL), _SECONDS, cwd=str(work)), work

    def learn(self, worker: Worker) -> None:
        """See what becomes of honest clips."""
        for name, data in self.clips.items():
            ran, work = self.call(worker, name.rpartition(".")[2], data)
            self.honest_memory = max(self.honest_memory, ran.memory)
            self.good = Frames(work / "out" / GOOD)
            if ran.code != 0:
                self.outcome.found(-1, "lost", f"honest {name}", ran.err.decode(errors="replace")[-1500:])

    def run(self, worker: Worker, number: int) -> None:
        """Run a case and look at what became of it."""
        kind, data = self.file_of(number)
        ran, work = self.call(worker, kind, data)
        self.outcome.cases += 1
        self.most = max(self.most, ran.memory)
        self.outcome.counts[f"{kind}: exit code {ran.code}"] += 1
        if wrong := self._wrong(ran, kind, work, data):
            self.outcome.found(number, wrong[0], f"bad.{kind}", wrong[1])
            self.settings.keep(f"{self.settings.seed}-{number}.{kind}", data)

    def _wrong(self, ran: Ran, kind: str, work: Path, data: bytes) -> tuple[str, str] | None:
        if wrong := ran.problem({0, 1}):
            return wrong
        if self.secret.was_read():
            return "touched", "a file outside was read"
        if ran.memory > self.honest_memory + MEMORY_MORE:
            return "memory", f"{ran.memory / 2**20:.0f} MiB, the honest clips take {self.honest_memory / 2**20:.0f}"
        if kind == "y4m":
            broken = broken_stream(data, ran.out, whole=not ran.code)
            return ("output", f"exit code {ran.code}: {broken}") if broken else None
        return self._wrong_outputs(ran, kind, work / "out")

    def _wrong_outputs(self, ran: Ran, kind: str, out: Path) -> tuple[str, str] | None:
        files = {Path(each["source"]).name: each for each in json.loads(ran.out)["files"]}
        if set(files) != {GOOD, f"bad.{kind}"}:
            return "report", f"is about {sorted(files)}"
        bad = files[f"bad.{kind}"]
        if ran.code != (bad["status"] == "failed") or (bad["status"] == "failed" and not bad["reason"].isprintable()):
            return "message", f"exit code {ran.code}, {bad['status']}: {bad['reason']!r}"
        if Frames(out / GOOD) != self.good:
            return "lost", "the good clip came out different"
        left = {path.name for path in out.iterdir()} - {GOOD, f"bad.{kind}", f"bad.partial.{kind}"}
        if left:
            return "left", str(left)
        if (out / f"bad.{kind}").exists() != (bad["status"] == "done"):
            return "lost", f"{bad['status']}, and the output {'exists' if bad['status'] != 'done' else 'is missing'}"
        for path in out.glob("bad.*"):
            if damage := _damage(path):
                return "output", f"{path.name} cannot be read: {damage}"
        return None


def run(settings: Settings) -> Outcome:
    """Run mutated clips until the time or the cases are used up."""
    outcome = Outcome("videos", settings.seed)
    began = time.monotonic()
    av.logging.set_level(None)
    with socket.create_server(("127.0.0.1", 0)) as listening, Worker() as worker:
        listening.setblocking(False)
        campaign = Campaign(settings, outcome, listening.getsockname()[1])
        campaign.learn(worker)
        for number in settings.numbers():
            campaign.run(worker, number)
            if was_called(listening):
                outcome.found(number, "touched", "a playlist", "a port of this computer was connected to")
            settings.tell(outcome)
        outcome.notes.append(
            f"{len(campaign.clips)} honest clips, {len(campaign.lists)} playlists; most memory "
            f"{campaign.most / 2**20:.0f} MiB (honest clips: {campaign.honest_memory / 2**20:.0f} MiB); "
            f"{worker.deaths} processes died or hung"
        )
    outcome.seconds = time.monotonic() - began
    return outcome


def broken_stream(given: bytes, out: bytes, *, whole: bool) -> str:
    """Return what is wrong with the output of a model that changes nothing; empty: nothing.

    Args:
        given: the stream that went in.
        out: what came out.
        whole: whether all of it should have come out.
    """
    if not out:
        return "there is no output" if whole else ""
    if not given.startswith(out):
        return f"{len(out)} bytes that differ from what went in"
    if whole:
        return "" if out == given else f"{len(out)} bytes of {len(given)}"
    return _cut_frame(out)


def _cut_frame(out: bytes) -> str:
    """Return what is wrong with the start of a stream if it does not end after its first line or a whole frame."""
    stream = io.BytesIO(out)
    try:
        for _ in y4m.read_frames(stream, y4m.read_header(stream)):
            continue
    except VideoError as e:
        return f"the output {e}"
    return ""


def _stream_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a stream that stops, changes or repeats itself."""
    end = data.index(b"\n")
    kind = int(rng.integers(5))
    if kind == 0:
        return data[: int(rng.integers(len(data)))]
    if kind == 1:
        return data + data
    if kind == 2:
        words = [
            b"W0",
            b"W-1",
            b"W99999999999",
            b"H65536",
            b"C420p17",
            b"C444",
            b"Cmono16",
            b"It",
            b"F0:0",
            b"XCOLORRANGE=FULL",
            b"W\xff",
        ]
        return data[:end] + b" " + words[int(rng.integers(len(words)))] + data[end:]
    if kind == 3:
        return blind(data[: end + 10], rng) + data[end + 10 :]
    return blind(data, rng)


def _damage(path: Path) -> str:
    """Return why a written video cannot be decoded; empty: it can."""
    try:
        return "" if Frames(path).frames else "it has no frame"
    except (av.FFmpegError, IndexError) as e:
        return str(e)
