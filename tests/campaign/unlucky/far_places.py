"""Unlucky places that need processes, a clock or a file system of their own, or very many files."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tests.campaign.corpora.pictures import picture, scene
from tests.campaign.harness.forked import Forked
from tests.campaign.unlucky.place_runs import GOOD, MODEL, SECONDS, Place, Run, lay_pictures, ran, started

FEW, MORE = 400, 1600  # pictures of one folder
_LINEAR: Final = 1.6  # how much more than four times as much four times as many may take
MANY: Final = (10_000, 100_000)  # files of one folder
NEW: Final = 20  # of them that are not done yet
TIME_MORE: Final = 1.5  # times ten: how much more time ten times as many files may take
FILE_BYTES: Final = 6_000  # of memory that a further file may take
_ODD: Final = ("\u00e4\u4e2d\U0001f600.png".encode(), b"\xff\xfe.png", b"plain.png")
_BARE: Final[tuple[dict[str, str], ...]] = (
    {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    {},
    {"HOME": "/nowhere", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere", "LANG": "C"},
)
_CLOCKS: Final = (b"-30d", b"-40y", b"+30d", b"-1h", b"+0")
_SETTLED: Final = 60.0  # seconds in which a mount comes


class Impossible(Exception):  # noqa: N818 - it is no error
    """What this machine does not have; says what."""


def own_environment(folder: Path, rng: np.random.Generator) -> str:
    """A process of its own with LANG=C, with no environment at all, or without HOME and TMPDIR; names of any bytes."""
    (folder / "in").mkdir()
    for name in _ODD:
        with open(os.path.join(os.fsencode(folder / "in"), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(picture("told.png"))
    environment = dict(_BARE[int(rng.integers(len(_BARE)))])
    code, out, err = _of_its_own(folder, environment, "--json", "-v")
    if wrong := Run(code, err, folder).problem(0):
        return wrong
    made = {os.fsencode(path.name) for path in (folder / "out").iterdir()}
    told = json.loads(out)["files"]
    return "" if made == {*_ODD} and len(told) == len(_ODD) else f"outputs {made}, {len(told)} in the report"


def clock_set_back(folder: Path, rng: np.random.Generator) -> str:
    """The clock of the system is set back and forth by days and years while the command runs."""
    libraries = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not libraries:
        raise Impossible("libfaketime is not installed")
    lay_pictures(folder)
    clock = folder / "clock"
    clock.write_bytes(b"+0")
    environment = {
        "LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    running = _process(folder, environment, "--json")
    while running.poll() is None:
        time.sleep(rng.random() * 0.3)
        later = clock.with_name("clock-new")
        later.write_bytes(_CLOCKS[int(rng.integers(len(_CLOCKS)))])
        later.replace(clock)
    out, err = running.communicate()
    if wrong := Run(running.returncode, err, folder).problem(0):
        return wrong
    report = json.loads(out)
    good = len(report["files"]) == len(GOOD) and 0 <= report["totals"]["seconds"] < SECONDS
    return "" if good else f"in the report: {out[-1000:]!r}"


def stalling_share(folder: Path, rng: np.random.Generator) -> str:
    """The sources or the outputs lie on a file system that stalls for a while, or until Ctrl-C comes."""
    (folder / "far").mkdir()
    lay_pictures(folder / "far")
    kind = ["source", "output", "for ever"][int(rng.integers(3))]
    with _share(folder) as switch:
        if at_once := rng.random() < 0.5:
            switch.touch()
        on_share = ("far/in", "-o", "far-mounted/out") if kind == "output" else ("far-mounted/in", "-o", "out")
        run = started(folder, *on_share)
        time.sleep(rng.random())
        switch.touch()
        time.sleep(1 + rng.random() * 2)
        if at_once and run.ended():
            return f"{kind}: it did not wait: {run.said!r}"
        if kind == "for ever":
            for _ in range(2):
                run.send(signal.SIGINT)
                time.sleep(0.1)
            ended = run.wait(SECONDS / 5)
            switch.unlink()
            return Run(run.code, run.said, folder).problem(0, 130) if ended else "Ctrl-C twice did not end it"
        switch.unlink()
        if not run.wait(SECONDS):
            return f"{kind}: it did not end: {run.said!r}"
        place = "out" if kind == "source" else "far/out"
        count = len([*(folder / place).iterdir()])
        wrong = Run(run.code, run.said, folder).problem(0, output=place)
        return wrong or ("" if count == len(GOOD) else f"{kind}: {count} outputs")


def two_runs(folder: Path, rng: np.random.Generator) -> str:
    """Two or three runs write into one folder at once."""
    lay_pictures(folder)
    words = ("in", "-o", "out", *(["--overwrite"] if rng.random() < 0.5 else []))
    runs = [
        Forked("cae_runtime", (*words, *MODEL), folder, folder / f"log{at}") for at in range(int(rng.integers(2, 4)))
    ]
    for run in runs:
        if not run.wait(SECONDS):
            return f"it did not end: {run.said!r}"
    count = len([*(folder / "out").glob("*")])
    wrong = next((wrong for run in runs if (wrong := Run(run.code, run.said, folder).problem(0))), "")
    return wrong or ("" if count == len(GOOD) else f"{count} outputs")


def very_many(folder: Path, _: np.random.Generator) -> str:
    """Four times as many files take four times as long, and no more memory but for their names."""
    tiny = cv2.imencode(".png", scene()[:8, :8])[1].tobytes()
    took: list[float] = []
    for count in (FEW, MORE):
        shutil.rmtree(folder / "in", ignore_errors=True)
        for at in range(count):
            place = folder / "in" / str(at % 20)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{at}.png").write_bytes(tiny)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if wrong := ran(folder, "in", "-o", f"out{count}").problem(0, output=f"out{count}"):
            return wrong
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return "" if took[1] < _LINEAR * 4 * took[0] else f"{FEW} files take {took[0]:.1f} s, {MORE} take {took[1]:.1f} s"


def hundred_thousand(folder: Path, _: np.random.Generator) -> str:
    """A folder of 100,000 files, of which a few are new: time and memory grow with their number, and no more."""
    used = []
    for count in MANY:
        place = folder / str(count)
        (place / "in").mkdir(parents=True)
        (place / "out").mkdir()
        for each in ("in/0.pgm", "done.pgm"):
            (place / each).write_bytes(b"P5 8 8 255\n" + bytes(64))
        for at in range(count):
            if at:
                os.link(place / "in" / "0.pgm", place / "in" / f"{at}.pgm")
            if at >= NEW:
                os.link(place / "done.pgm", place / "out" / f"{at}.pgm")

        def before(place: Path = place) -> None:
            os.dup2(os.open(place / "report.json", os.O_WRONLY | os.O_CREAT), 1)

        run = started(place, "in", "-o", "out", "--json", before=before)
        if not run.wait(SECONDS) or run.code != 0 or run.used is None:
            return f"exit code {run.code}: {run.said[-1500:]!r}"
        told = [file["status"] for file in json.loads((place / "report.json").read_bytes())["files"]]
        if (told.count("done"), told.count("skipped")) != (NEW, count - NEW):
            return f"{count} files: {told.count('done')} done, {told.count('skipped')} skipped"
        used.append((run.used.ru_utime + run.used.ru_stime, run.used.ru_maxrss * 1024))
    (few, small), (many, large) = used
    each = (large - small) / (MANY[1] - MANY[0])
    figures = (
        f"{MANY[0]:,} files take {few:.1f} s and {small >> 20} MiB, {MANY[1]:,} take {many:.1f} s and {large >> 20} MiB"
    )
    print(f"places: {figures}", flush=True)
    return "" if many < TIME_MORE * 10 * few and each < FILE_BYTES else figures


FAR: Final[tuple[Place, ...]] = (own_environment, clock_set_back, stalling_share)


def _process(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own, with an environment that has nothing else."""
    given = [sys.executable, "-m", "cae_runtime", "in", "-o", "out", *words, *map(str, MODEL)]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment
    return subprocess.Popen(given, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _of_its_own(folder: Path, environment: dict[str, str], *words: str) -> tuple[int, bytes, bytes]:
    running = _process(folder, environment, *words)
    out, err = running.communicate()
    return running.returncode, out, err


@contextmanager
def _share(folder: Path) -> Iterator[Path]:
    """Show the folder `far` as `far-mounted` in a file system that stalls while the file is there that this gives."""
    if importlib.util.find_spec("fuse") is None or not os.access("/dev/fuse", os.W_OK):
        raise Impossible("there is no FUSE, or no fusepy")
    switch, mount = folder / "switch", folder / "far-mounted"
    mount.mkdir()
    words = [sys.executable, "-W", "ignore", "-m", "tests.campaign.unlucky.share", folder / "far", mount, switch]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as serving:
        try:
            until = time.monotonic() + _SETTLED
            while not (mount / "in").exists():
                if serving.poll() is not None or time.monotonic() > until:
                    raise Impossible("a FUSE file system cannot be mounted")
                time.sleep(0.05)
            yield switch
        finally:
            switch.unlink(missing_ok=True)
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
            serving.terminate()
