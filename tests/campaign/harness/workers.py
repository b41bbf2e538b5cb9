"""Commands run in a warm child process whose death, sleep and memory are seen."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

from tests.campaign.harness.findings import what_is_wrong_with

ADDRESS_SPACE: Final = 7 * 2**30  # bytes; beyond it a command sees a MemoryError
RESIDENT_MAX: Final = 700 * 2**20  # bytes that a process may keep after a run; with more, the next has a new one
_ASLEEP: Final = 600.0  # seconds without work
_IDLE: Final = 0.05  # seconds of CPU time that are none
_KEPT_SECONDS: Final = 5  # for a child that is asked to end


@dataclass(frozen=True)
class Ran:
    """What a command did.

    Attributes:
        code: its exit code; None: the process died or was stopped.
        out: what it wrote to stdout.
        err: what it wrote to stderr, or what was left behind by a crash.
        death: `crash`, `hang`, or empty.
        memory: the most it had in memory at once, in bytes.
        resident: what the process has in memory afterwards, in bytes.
        seconds: how long it took.
        threads: that run afterwards.
        files: that are open afterwards.
    """

    code: int | None
    out: bytes
    err: bytes
    death: str = ""
    memory: int = 0
    resident: int = 0
    seconds: float = 0.0
    threads: int = 0
    files: int = 0

    def problem(self, codes: Collection[int]) -> tuple[str, str] | None:
        """Return the kind and the details of what is wrong with the end of a command: its death, words, exit code.

        Args:
            codes: exit codes that it may have.
        """
        if self.death:
            return self.death, f"{self.seconds:.0f} s: {self.err.decode(errors='replace')}"
        if told := what_is_wrong_with(self.err):
            return "traceback", told
        if self.code not in codes:
            return "code", f"exit code {self.code}: {self.err.decode(errors='replace')[-500:]}"
        return None


class Worker:
    """A child process that runs commands one after the other; one that died is replaced by a new one.

    Args:
        environment: changes to the environment of the child.
        collect: whether the child frees unreachable objects after each command, before its memory is measured.
        memory: bytes that the machine has, as `cae-run` sees it; 0: those that it has.

    Attributes:
        deaths: commands that died or hung.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, collect: bool = False, memory: int = 0) -> None:
        self._environment, self._collect, self._memory = dict(environment or {}), collect, memory
        self._log = Path(tempfile.mkdtemp(prefix="campaign-")) / "log"
        self._process: Any = None
        self._here: Connection
        self.deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._log.unlink(missing_ok=True)
        self._log.parent.rmdir()

    def run(self, package: str, words: Sequence[object], seconds: float, stdin: bytes = b"", cwd: str = "") -> Ran:
        """Run a command.

        Args:
            package: `cae_runtime`, `cae_train` or `cae_export`.
            words: what is typed after the command's name.
            seconds: after so many of CPU time, or ten minutes without any, it counts as a hang and is stopped.
            stdin: what it reads.
            cwd: the folder it runs in; empty: the current one.
        """
        self._start()
        began = time.monotonic()
        try:
            self._here.send((package, [str(word) for word in words], stdin, cwd))
            if self._answers(seconds):
                ran = Ran(**self._here.recv(), seconds=time.monotonic() - began)
                if ran.resident > RESIDENT_MAX:  # what is left of this run would count as memory of the next
                    self._end()
                return ran
            os.kill(self._process.pid, signal.SIGABRT)  # faulthandler writes what it was doing
            death = "hang"
        except (EOFError, ConnectionError):
            death = "crash"
        self.deaths += 1
        self._process.join(_KEPT_SECONDS)
        code = self._process.exitcode
        self._end()
        said = f"exit code {code}\n".encode() + self._log.read_bytes()[-6000:]
        return Ran(None, b"", said, death, seconds=time.monotonic() - began)

    def _answers(self, seconds: float) -> bool:
        """Wait; return whether there is an answer, or the end of the process, before it hangs."""
        first = last = _cpu_seconds(self._process.pid)
        moved = time.monotonic()
        while not self._here.poll(1):
            now = _cpu_seconds(self._process.pid)
            if now - last > _IDLE:
                last, moved = now, time.monotonic()
            if now - first > seconds or time.monotonic() - moved > _ASLEEP:
                return False
        return True

    def _start(self) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        arguments = (there, str(self._log), self._environment, self._collect, self._memory)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        there.close()

    def _end(self) -> None:
        if self._process is None:
            return
        self._here.close()
        self._process.join(_KEPT_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None


def _serve(connection: Connection, log: str, environment: Mapping[str, str], collect: bool, memory: int) -> None:
    """Run what is asked for until the connection closes."""
    file = Path(log).open("wb", buffering=0)  # noqa: SIM115 - as long as the process
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    faulthandler.enable(file)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.update(environment)
    warnings.simplefilter("always")  # also where the same was warned of before
    from tests.in_process import run_here

    if memory:
        from cae_runtime.inference import cpu_limits

        cpu_limits.usable_memory = lambda: memory  # before the module that limits models is imported
    while True:
        try:
            package, words, stdin, cwd = connection.recv()
        except EOFError:
            os._exit(0)
        _forget_peak()
        try:
            done = run_here(package, words, stdin, Path(cwd) if cwd else None)
            code, out, err = done.returncode, done.stdout, done.stderr
        except BaseException:
            import traceback

            code, out, err = 1, b"", traceback.format_exc().encode()
        if collect:
            gc.collect()
        connection.send(
            {
                "code": code,
                "out": out,
                "err": err,
                "memory": memory_of("VmHWM"),
                "resident": memory_of("VmRSS"),
                "threads": threads_and_files()[0],
                "files": threads_and_files()[1],
            }
        )


def _cpu_seconds(process: int) -> float:
    """Return how long a process has computed; where the system does not say, the time that passes."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def threads_and_files() -> tuple[int, int]:
    """Return how many threads this process has, and how many files it has open, where the system says so."""
    threads = len([*Path("/proc/self/task").glob("*")]) or threading.active_count()
    return threads, len([*Path("/proc/self/fd").glob("*")])


def memory_of(key: str) -> int:
    """Return what `/proc` says of this process's memory, in bytes; elsewhere the most that it ever had."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
