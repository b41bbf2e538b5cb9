"""A script of this folder, as a process that is spoken to line by line."""

from __future__ import annotations

import os
import queue
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.benchmarks.engines.environments import EngineError


class Child:
    """An engine with a model and patches; a block in which it runs.

    Args:
        command: starts the script.
        variables: that the script needs.
        paths: of the model, the patches and the result.
        timeout: seconds for each answer.

    Raises:
        EngineError: on entering the block: the engine cannot run the model.
    """

    def __init__(
        self, command: list[str], variables: dict[str, str], paths: tuple[Path, Path, Path], timeout: float
    ) -> None:
        self._command = [*command, *map(str, paths)]
        self._variables = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
        self._timeout = timeout
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Child:
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            self._command, env=self._variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True, errors="replace", bufsize=1,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            while (line := self._line()) != "ready":
                if line.startswith("failed: "):
                    raise EngineError(line.removeprefix("failed: "))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def seconds(self) -> float:
        """Let it run the patches once.

        Raises:
            EngineError: it ends, or takes too long.
        """
        with suppress(OSError):  # it has ended: what it said last is the reason
            self._process.stdin.write("\n")
        while True:
            try:
                return float(self._line())
            except ValueError:  # what a library prints
                continue

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def _line(self) -> str:
        started = time.monotonic()
        try:
            line = self._lines.get(timeout=self._timeout)
        except queue.Empty:
            raise EngineError(f"no answer within {time.monotonic() - started:.0f} s") from None
        if line is None:
            code = self._process.wait()
            self._log.seek(0)
            said = [line.strip() for line in self._log if line.strip()]
            raise EngineError(f"it ends with code {code}: {said[-1] if said else 'without a word'}")
        return line
