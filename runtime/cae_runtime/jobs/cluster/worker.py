"""A worker of the cluster: opens the model once, and reads, cleans and writes the files of its blocks."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cae_runtime.arguments import Progress
from cae_runtime.errors import CaeRuntimeError, ClusterError
from cae_runtime.inference.session import Session
from cae_runtime.io.image_files import Picture
from cae_runtime.jobs.cluster.blocks import Numbered
from cae_runtime.jobs.cluster.ledger import TRIES
from cae_runtime.jobs.pictures import Changed
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.restore.images import cleaning
from cae_runtime.jobs.restore.job import clean_each, restorer_of
from cae_runtime.jobs.restore.masks import filling
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import FileResult

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
        options: how files are restored.
        plan: the plan, with only its first files.
        folder: the working folder, to which relative paths refer.
        seen: files and folders that every node must see.
        version: the version of this package.
    """

    model: bytes
    name: str
    provider: str
    threads: int
    options: RestoreOptions
    plan: Plan
    folder: Path
    seen: tuple[Path, ...]
    version: str


class Worker:
    """Cleans blocks of files; Ray Data makes one for each share of the cluster's CPUs.

    Args:
        setup: the common settings of all workers.
        ledger: the actor of the `Ledger`.
    """

    def __init__(self, setup: Setup, ledger: Any) -> None:
        import ray

        context = ray.get_runtime_context()
        self._setup, self._ledger = setup, ledger
        self._node: str = context.get_node_id()
        self._where = f"{ray.util.get_node_ip_address()} ({self._node[:8]})"
        self._asked: Any = None
        self._looked = 0.0
        self._trouble: CaeRuntimeError | None = None
        try:
            self._prepare()
        except CaeRuntimeError as e:  # raised while an actor starts, Ray would wrap it and try again
            self._trouble = e

    def _prepare(self) -> None:
        """Open the model.

        Raises:
            ClusterError: this node lacks what the others have.
            CaeRuntimeError: see `Session` and `Restorer`.
        """
        setup = self._setup
        if (version := installed_version()) != setup.version:
            raise ClusterError(
                f"node {self._where} has cae-toolkit {version}, but the command is of version {setup.version}: install "
                "the same version on all nodes"
            )
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
        if setup.options.fills:
            self._restorer, self._change = filling(session, setup.plan, setup.options)
        else:
            self._restorer = restorer_of(session, setup.options)
            self._change = cleaning(self._restorer, setup.options)

    def __call__(self, table: Any) -> Any:
        """Clean a table of blocks, columns `block` and `jobs`; return one of files, columns `file` and `row`."""
        import pyarrow

        rows: dict[int, bytes] = {}
        for number, jobs in zip(table["block"].to_pylist(), table["jobs"].to_pylist(), strict=True):
            rows |= self._block(number, pickle.loads(jobs))  # noqa: S301 - made by this very call
        return pyarrow.table(
            {"file": pyarrow.array(rows, pyarrow.int64()), "row": pyarrow.array(rows.values(), pyarrow.binary())}
        )

    def _block(self, number: int, block: Sequence[Numbered]) -> dict[int, bytes]:
        """Clean the files of a block; return the results, or the error of the whole call."""
        import ray

        if self._trouble is not None:
            return {WHOLE_CALL: pickle.dumps(self._trouble)}
        opened = ray.get(self._ledger.open.remote(number, self._node, [file for file, _ in block]))
        rows = dict(opened.rows)
        if opened.stopped:
            return rows
        left = [each for each in block if each[0] not in rows]
        try:
            if opened.again:
                for file, job in left:
                    self._alone(file, job, rows)
            else:
                self._together(left, self._setup.options, rows)
        except KeyboardInterrupt:  # the call is ending
            pass
        except CaeRuntimeError as e:
            rows[WHOLE_CALL] = pickle.dumps(e)
        finally:
            self._ledger.close.remote(number)
        return rows

    def _alone(self, file: int, job: Job, rows: dict[int, bytes]) -> None:
        """Clean one file of a repeated block.

        An existing output was written by the worker that died. It is written again, since its result is not known.

        Args:
            file: the number of the file.
            job: the file.
            rows: receives the result.
        """
        import ray

        self._look()
        if ray.get(self._ledger.begin.remote(file, self._node)):
            self._together([(file, job)], replace(self._setup.options, overwrite=True), rows)
            return
        reason = f"crashed its worker {TRIES} times, perhaps for lack of memory: it was left out"
        result = FileResult(
            str(job.source), str(job.output), "failed", reason, 0.0, None, None, self._restorer.provider, ()
        )
        self._hand_in(file, result, rows)

    def _together(self, block: Sequence[Numbered], options: RestoreOptions, rows: dict[int, bytes]) -> None:
        """Clean files as a call without a cluster does; puts the results into `rows`."""
        number = {str(job.output): file for file, job in block}

        def hand_in(result: FileResult) -> None:
            self._hand_in(number[result.output], result, rows)

        cleaned = clean_each(
            [job for _, job in block], self._restorer, options, self._unless_stopped,
            on_frame=lambda *_: self._look(), on_part=lambda *_: self._look(), on_result=hand_in,
        )  # fmt: skip
        with contextlib.closing(cleaned):
            for result in cleaned:
                hand_in(result)

    def _unless_stopped(self, job: Job, picture: Picture, told: Progress | None) -> Changed:
        """Clean a picture, unless the call is ending."""
        self._look()
        return self._change(job, picture, told)

    def _hand_in(self, file: int, result: FileResult, rows: dict[int, bytes]) -> None:
        """Put a result into `rows`, and into the ledger, which keeps it if this worker dies."""
        row = pickle.dumps(replace(result, node=self._where))
        if rows.get(file) != row:
            rows[file] = row
            self._ledger.done.remote(file, row)

    def _look(self) -> None:
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
