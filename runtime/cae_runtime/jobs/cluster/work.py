"""What workers do with the files of a call: a class for each task, which is sent to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from cae_runtime.inference.session import Session
from cae_runtime.jobs.cluster.blocks import Numbered
from cae_runtime.jobs.cluster.ledger import TRIES
from cae_runtime.jobs.opened_images import Opened, opened_quietly
from cae_runtime.jobs.planning import Job

CRASHES = f"crashed its worker {TRIES} times, perhaps for lack of memory: it was left out"


class Supervisor(Protocol):
    """The worker as the work on a block sees it: it records results, and may end the work."""

    def known(self, file: int) -> Any | None:
        """Return the result that a worker which died has handed in; None if there is none."""

    def begin(self, file: int) -> str:
        """Note that a file of a repeated block is begun; return why it must be left out, and nothing if it need not."""

    def hand_in(self, file: int, result: Any) -> None:
        """Hand in the result of a file, a dataclass with a field `node`."""

    def look(self) -> None:
        """Raise KeyboardInterrupt if the work is to end; called often."""


class OpenedWork(ABC):
    """Does the work on a node, with a model that is open."""

    @abstractmethod
    def do(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> None:
        """Work on a block, and hand in a result for each file that has none.

        Args:
            number: of the block.
            block: the numbered files.
            again: whether the block is repeated: each file is begun alone by `worker.begin`, which may leave it out.
            worker: takes the results.

        Raises:
            CaeRuntimeError: the whole call is to end with it.
            KeyboardInterrupt: the work is to end.
            Exception: a fault of the program or of a library; the block is repeated, and the file left out.
        """

    @abstractmethod
    def left_out(self, number: int, job: Job, reason: str) -> Any:
        """Return the result of a file of a block that is left out, and therefore has failed."""

    def give_up(self, number: int, block: Sequence[Numbered], reason: str, worker: Supervisor) -> None:
        """Hand in a failure for each file of a block that cannot be finished, although no file is to blame."""
        for file, job in block:
            if worker.known(file) is None:
                worker.hand_in(file, self.left_out(number, job, reason))

    def pictures(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> Iterator[Opened]:
        """Yield the pictures of a block while the next one is read; in a repeated block, each is read alone.

        For the arguments see `do`. Pictures that are left out are handed in, and not yielded.
        """
        if not again:
            yield from opened_quietly([job for _, job in block], lambda *_: worker.look())
            return
        for file, job in block:
            worker.look()
            if reason := worker.begin(file):
                worker.hand_in(file, self.left_out(number, job, reason))
            else:
                yield from opened_quietly([job], lambda *_: worker.look())


class Work(ABC):
    """Describes the work of a call; it is pickled."""

    @abstractmethod
    def opened(self, session: Session) -> OpenedWork:
        """Return the object that does the work.

        Args:
            session: the model, on the node.

        Raises:
            CaeRuntimeError: the model or the options do not allow it.
        """

    def tasks(self, jobs: Sequence[Job]) -> int:
        """Return into how many tasks the files can be divided."""
        return len(jobs)

    @abstractmethod
    def blocks(self, jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
        """Divide the files into blocks, each of which is one task for a worker."""
