"""Unlucky places: full, read-only and vanishing folders, names of any bytes, links in circles, very many files."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from tests.campaign.corpora.pictures import picture
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.unlucky.far_places import FAR, Impossible, hundred_thousand, two_runs, very_many
from tests.campaign.unlucky.place_runs import GOOD, SECONDS, Place, Run, lay_pictures, ran, started

_NAMES: Final = (
    b"n\new.png", b"esc\x1b[31m\x1b]0;x\x07.png", b"\xff\xfe\x80.png", b"-o.png", b"--overwrite.png", b" .png",
    b"'\"$(x)`.png",
    "\u202egnp.exe.png".encode(), "\u00e4\u4e2d\U0001f600.png".encode(), b"a" * 251 + b".png", b"%s%n.png",
    b"a\\b.png", b"*?[x].png",
    b"\r.png", b"x.partial.png", b"CON.png", b"A.PNG", "\x9b31m\u2066\u200f.png".encode(), b"\x9b31m.png",
)  # fmt: skip


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory at a folder.

    Raises:
        Impossible: this user may not, or the system cannot.
    """
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        raise Impossible("a file system in memory cannot be mounted")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(folder: Path, rng: np.random.Generator) -> str:
    """A file system of a few KiB."""
    lay_pictures(folder)
    with _mounted(folder / "out", f"size={int(rng.choice([4, 8, 16]))}k"):
        return ran(folder, "in", "-o", "out").problem(1)


def no_room(folder: Path, rng: np.random.Generator) -> str:
    """Files may not grow beyond a few bytes."""
    lay_pictures(folder)
    limit = int(rng.choice([0, 100, 1000, 3000]))
    reader, writer = os.pipe()  # a limited file cannot take the messages

    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(writer, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    os.set_blocking(writer, False)  # a command with more to say than a pipe holds would wait for ever
    with os.fdopen(reader, "rb") as said:
        try:
            run = ran(folder, "in", "-o", "out", before=before)
        finally:
            os.close(writer)
        run.said += said.read()
    told = run.said.decode(errors="replace").splitlines()
    if run.code == 1 and not any(line.startswith("failed: ") for line in told):
        return f"no line says what failed: {told}"
    return run.problem(*((1,) if limit < 1000 else (0, 1)))


def full_output(folder: Path, rng: np.random.Generator) -> str:
    """Standard output is full."""
    lay_pictures(folder)

    def before() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    words = ("in", "-o", "out", "--json") if rng.random() < 0.5 else ("in/told.png", "-o", "-")
    return ran(folder, *words, before=before).problem(1)


def read_only(folder: Path, _: np.random.Generator) -> str:
    """A file system that cannot be written to."""
    lay_pictures(folder)
    with _mounted(folder / "out", "ro"):
        return ran(folder, "in", "-o", "out").problem(2)


def other_file_system(folder: Path, _: np.random.Generator) -> str:
    """The output lies on another file system, through a link."""
    lay_pictures(folder)
    with _mounted(folder / "far", "size=10m"):
        (folder / "out").symlink_to("far")
        run = ran(folder, "in", "-o", "out")
        count = len([*(folder / "out").glob("*")])
        return run.problem(0) or ("" if count == len(GOOD) else f"{count} outputs")


def without_rename(folder: Path, rng: np.random.Generator) -> str:
    """A file system that does not rename."""
    lay_pictures(folder)
    number = int(rng.choice([errno.EXDEV, errno.EPERM, errno.ENOSPC, errno.EIO, errno.EOPNOTSUPP]))

    def before() -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        os.replace = os.rename = refuse

    run = ran(folder, "in", "-o", "out", before=before)
    return run.problem(1) or ("" if not [*(folder / "out").glob("*")] else "outputs without rename")


def vanishing(folder: Path, rng: np.random.Generator) -> str:
    """The output or the source folder is removed on the way."""
    lay_pictures(folder)
    victim = ["out", "in"][int(rng.integers(2))]
    run = started(folder, "in", "-o", "out")
    time.sleep(rng.random() * 0.6)
    shutil.rmtree(folder / victim, ignore_errors=True)
    if not run.wait(SECONDS):
        return f"it did not end: {run.said!r}"
    return Run(run.code, run.said, folder).problem(0, 1, 2)


def changing(folder: Path, rng: np.random.Generator) -> str:
    """Sources are cut, overwritten and replaced while they are read."""
    lay_pictures(folder)
    run = started(folder, "in", "-o", "out")
    while not run.ended():
        path = folder / "in" / GOOD[int(rng.integers(len(GOOD)))]
        kind = int(rng.integers(4))
        if kind == 0:
            os.truncate(path, int(rng.integers(path.stat().st_size + 1)))
        elif kind == 1:
            path.write_bytes(picture(path.name)[: int(rng.integers(4000))])
        elif kind == 2:
            path.unlink()
            path.mkdir()
            path.rmdir()
            path.write_bytes(b"")
        else:
            path.write_bytes(picture(path.name))
        time.sleep(0.001)
    return Run(run.code, run.said, folder).problem(0, 1)


def names(folder: Path, rng: np.random.Generator) -> str:
    """Names of any bytes and of any length, in messages and in the report."""
    (folder / "in").mkdir()
    data = picture("told.png")
    chosen = [_NAMES[at] for at in rng.permutation(len(_NAMES))[: int(rng.integers(3, len(_NAMES)))]]
    for name in chosen:
        with open(os.path.join(os.fsencode(folder / "in"), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(data[:100] if rng.random() < 0.3 else data)

    def before() -> None:
        os.dup2(os.open(folder / "json", os.O_WRONLY | os.O_CREAT), 1)

    run = ran(folder, "in", "-o", "out", "--json", "-v", before=before)
    if wrong := run.problem(0, 1):
        return wrong
    report = (folder / "json").read_bytes()
    files = json.loads(report)["files"]
    if any(byte < 32 and byte != 10 for byte in report):
        return "raw control characters in the report"
    made = {os.fsencode(path.name) for path in (folder / "out").iterdir()}
    done = sum(file["status"] == "done" for file in files)
    if len(files) != len(chosen) or len(made) != done or not made <= {*chosen}:
        return f"{len(chosen)} files, {len(files)} in the report, outputs {sorted(made - {*chosen})}"
    return ""


def odd_files(folder: Path, rng: np.random.Generator) -> str:
    """Links in circles, pipes, sockets and devices among the pictures."""
    lay_pictures(folder)
    place = folder / "in"
    os.mkfifo(place / "pipe.png")
    (place / "circle.png").symlink_to("circle.png")
    (place / "up").symlink_to("..")
    (place / "here").symlink_to(".")
    (place / "broken.png").symlink_to("nowhere.png")
    (place / "zero.png").symlink_to("/dev/zero")
    (place / "terminal.jpg").symlink_to("/dev/stdin")
    (place / "memory.png").symlink_to("/proc/self/mem")
    with socket.socket(socket.AF_UNIX) as opened:
        previous = Path.cwd()
        os.chdir(place)  # the path of a socket is short
        try:
            opened.bind("socket.png")
        finally:
            os.chdir(previous)
        words = ("in", "-o", "out") if rng.random() < 0.5 else ("in", "in/pipe.png", "in/zero.png", "-o", "out")
        run = ran(folder, *words)
    count = len([path for path in (folder / "out").rglob("*") if path.is_file()])
    return run.problem(1) or ("" if count == len(GOOD) else f"{count} outputs")


def odd_outputs(folder: Path, rng: np.random.Generator) -> str:
    """The output is a link to a folder, to nothing, in a circle, a device, a pipe, or under a file."""
    lay_pictures(folder)
    (folder / "real").mkdir()
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {
        "folder": ("real", (0,)), "circle": ("out", (2,)), "device": ("/dev/null", (2,)), "file": ("in/told.png", (2,)),
    }  # fmt: skip
    target, codes = kinds[[*kinds][int(rng.integers(len(kinds)))]]
    (folder / "out").symlink_to(target)
    before = {path.name: path.read_bytes() for path in (folder / "in").iterdir()}
    wrong = ran(folder, "in", "-o", "out").problem(*codes)
    after = {path.name: path.read_bytes() for path in (folder / "in").iterdir()}
    return wrong or ("" if before == after else "the sources changed")


def bare_environment(folder: Path, rng: np.random.Generator) -> str:
    """No HOME, no TMPDIR, another one that does not exist, closed streams, few files, a clock that goes back."""
    lay_pictures(folder)
    kind = int(rng.integers(6))

    def before() -> None:
        if kind == 0:
            os.environ.clear()
        elif kind == 1:
            os.environ.update(HOME="/nowhere", TMPDIR="/nowhere", XDG_CACHE_HOME="/nowhere", TEMP="/nowhere")
        elif kind == 2:
            os.close(int(rng.integers(3)))
        elif kind == 3:
            for number in range(3):
                os.close(number)
        elif kind == 4:
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(rng.integers(12, 40)),) * 2)
        else:
            _let_clock_go_back()

    return ran(folder, "in", "-o", "out", before=before).problem(*((0,) if kind != 4 else (0, 1)))


def _let_clock_go_back() -> None:
    now = time.time()
    told = iter(range(10**9))
    time.time = lambda: now - 3600 * next(told)


PLACES: Final[tuple[Place, ...]] = (
    full_disk, no_room, full_output, read_only, other_file_system, without_rename, vanishing, vanishing, changing,
    changing, names, names, names, odd_files, odd_outputs, two_runs, bare_environment, bare_environment,
    *FAR,
)  # fmt: skip
_ONCE: Final[tuple[Place, ...]] = (very_many, hundred_thousand)


def run(settings: Settings) -> Outcome:
    """Run the command in bad places until the time or the cases are used up."""
    import importlib

    for module in ("cli.clean", "jobs.restore.restore_files", "jobs.restore.report", "jobs.restore.pipe"):
        importlib.import_module(f"cae_runtime.{module}")
    outcome = Outcome("places", settings.seed)
    began = time.monotonic()
    for number in settings.numbers():
        rng = np.random.default_rng([settings.seed, number, 5])
        place = _ONCE[number] if number < len(_ONCE) else PLACES[int(rng.integers(len(PLACES)))]
        folder = settings.folder / "places"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            wrong, what = place(folder, rng), place.__name__
        except Impossible as e:
            wrong, what = "", f"{place.__name__}: not possible here, {e}"
        outcome.cases += 1
        outcome.counts[what] += 1
        if wrong:
            outcome.found(number, "place", place.__name__, wrong)
        settings.tell(outcome)
    outcome.seconds = time.monotonic() - began
    return outcome
