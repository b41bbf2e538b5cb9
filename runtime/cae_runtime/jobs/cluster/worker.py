"""A worker of the cluster: opens the model once, and reads and writes the files of its blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cae_runtime.errors import CaeRuntimeError, ClusterError
from cae_runtime.inference.session import Session
from cae_runtime.jobs.cluster.blocks import Numbered
from cae_runtime.jobs.cluster.work import CRASHES, OpenedWork, Work

_log = logging.getLogger(__name__)

WHOLE_CALL: Final = -1  # number of the row with an error that ends the whole call
_LOOK_EVERY: Final = 1.0  # seconds between two questions whether to stop


@dataclass(frozen=True)
class Setup:
    """The common settings of all workers of a call.

    Attributes:
        model: the bytes of the model file.
        name: the model as the user named it.
        provider: the execution provider, see `Session`.
        threads: threads of the CPU provider.
        work: what is done with the files.
        folder: the working folder, to which relative paths refer.
        seen: files and folders that every node must see.
        version: the version of this package.
    """

    model: bytes
    name: str
    provider: str
    threads: int
    work: Work
    folder: Path
    seen: tuple[Path, ...]
    version: str


def packed(setup: Setup) -> bytes:
    """Return settings pickled, with their version before them, which every version of this package can read."""
    return pickle.dumps((setup.version, pickle.dumps(setup)))


class Worker:
    """Works on blocks of files; Ray Data makes one for each share of the cluster's CPUs.

    Args:
        ledger: the actor of the `Ledger`, which also has the `Setup`.
    """

    def __init__(self, ledger: Any) -> None:
        import ray

        context = ray.get_runtime_context()
        self._ledger = ledger
        self._node: str = context.get_node_id()
        self._where = f"{ray.util.get_node_ip_address()} ({self._node[:8]})"
        self._asked: Any = None
        self._looked = 0.0
        self._rows: dict[int, bytes] = {}
        self._begun: int | None = None  # file that is worked on alone
        self._faults: dict[int, str] = {}  # file -> why it is left out
        self._trouble: CaeRuntimeError | None = None
        try:
            self._doer = self._opened(*pickle.loads(ray.get(ledger.setup.remote())))  # noqa: S301 - of this very call
        except CaeRuntimeError as e:  # raised while an actor starts, Ray would wrap it and try again
            self._trouble = e

    def _opened(self, wanted: str, content: bytes) -> OpenedWork:
        """Open the model, as what `packed` returns tells.

        Raises:
            ClusterError: this node lacks what the others have.
            CaeRuntimeError: see `Session` and the task.
        """
        if (version := installed_version()) != wanted:
            raise ClusterError(
                f"node {self._where} has cae-toolkit {version}, but the command is of version {wanted}: install "
                "the same version on all nodes"
            )
        setup: Setup = pickle.loads(content)  # noqa: S301 - of this very call
        with contextlib.suppress(OSError):
            os.chdir(setup.folder)
        for path in setup.seen:
            if not path.exists():
                raise ClusterError(
                    f"node {self._where} does not see {str(path)!r}: all nodes must see the files under the same path, "
                    "such as on network storage"
                )
        session = Session(setup.model, provider=setup.provider, threads=setup.threads)
        session.name = setup.name
        return setup.work.opened(session)

    def __call__(self, table: Any) -> Any:
        """Work on a table of blocks, columns `block` and `jobs`; return one of files, columns `file` and `row`."""
        import pyarrow

        rows: dict[int, bytes] = {}
        for number, jobs in zip(table["block"].to_pylist(), table["jobs"].to_pylist(), strict=True):
            rows |= self._block(number, pickle.loads(jobs))  # noqa: S301 - made by this very call
        return pyarrow.table(
            {"file": pyarrow.array(rows, pyarrow.int64()), "row": pyarrow.array(rows.values(), pyarrow.binary())}
        )

    def _block(self, number: int, block: Sequence[Numbered]) -> dict[int, bytes]:
        """Work on a block; return the results, or the error of the whole call."""
        import ray

        if self._trouble is not None:
            return {WHOLE_CALL: pickle.dumps(self._trouble)}
        opened = ray.get(self._ledger.open.remote(number, self._node, [file for file, _ in block]))
        self._rows = dict(opened.rows)
        if opened.stopped:
            return self._rows
        try:
            if opened.hopeless:
                self._doer.give_up(number, block, CRASHES, self)
            else:
                self._do(number, block, opened.again)
        except KeyboardInterrupt:  # the call is ending
            pass
        except CaeRuntimeError as e:
            self._rows[WHOLE_CALL] = pickle.dumps(e)
        finally:
            self._ledger.close.remote(number)
        return self._rows

    def _do(self, number: int, block: Sequence[Numbered], again: bool) -> None:
        """Work on a block. A file at which the program or a library fails is listed as failed, and the others go on.

        Raises:
            CaeRuntimeError: the whole call is to end with it.
            KeyboardInterrupt: the call is ending.
        """
        import ray

        while True:
            self._begun = None
            try:
                self._doer.do(number, block, again, self)
            except (CaeRuntimeError, ray.exceptions.RayError):
                raise
            except Exception as e:
                reason = f"an unexpected error in the program: {type(e).__name__}: {' '.join(str(e).split())}"
                _log.exception("block %s, alone: %s, file %s", number, again, self._begun)  # into the log of the worker
                if again and self._begun is None:  # between the files, such as while a table is written
                    self._doer.give_up(number, block, reason, self)
                    return
                if self._begun is not None:
                    self._faults[self._begun] = reason
                again = True
            else:
                return

    def known(self, file: int) -> Any | None:
        """Return the result of a file that is known; see `Supervisor`."""
        row = self._rows.get(file)
        return None if row is None else pickle.loads(row)  # noqa: S301 - made by workers of this call

    def begin(self, file: int) -> str:
        """Note that a file is begun alone, or return why it must be left out; see `Supervisor`."""
        import ray

        if file in self._faults:
            return self._faults[file]
        if not ray.get(self._ledger.begin.remote(file, self._node)):
            return CRASHES
        self._begun = file
        return ""

    def hand_in(self, file: int, result: Any) -> None:
        """Put a result into the table, and into the ledger, which keeps it if this worker dies."""
        row = pickle.dumps(replace(result, node=self._where))
        begun = file == self._begun
        if begun or self._rows.get(file) != row:
            self._rows[file] = row
            self._ledger.done.remote(file, row)
        if begun:
            self._begun = None

    def look(self) -> None:
        """Ask the ledger from time to time whether to stop, without waiting for its answer.

        Raises:
            KeyboardInterrupt: the call is ending, as if Ctrl-C had been pressed here.
        """
        import ray

        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        if self._asked is None:
            self._asked = self._ledger.stopped.remote()
        elif ray.wait([self._asked], timeout=0)[0]:
            asked, self._asked, self._looked = self._asked, None, time.monotonic()
            if ray.get(asked):
                raise KeyboardInterrupt


def installed_version() -> str:
    """Return the version of this package."""
    from importlib.metadata import version

    return version("cae-toolkit")
