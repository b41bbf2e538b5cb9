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


class Desk(Protocol):
    """What a worker has for the work on a block."""

    def known(self, file: int) -> Any | None:
        """Return the result that a worker which died has handed in; None if there is none."""

    def may(self, file: int) -> bool:
        """Note that a file of a repeated block is begun; return False if it has ended too many workers."""

    def hand_in(self, file: int, result: Any) -> None:
        """Hand in the result of a file, a dataclass with a field `node`."""

    def look(self) -> None:
        """Raise KeyboardInterrupt if the work is to end; called often."""


class Doer(ABC):
    """Does the work on a node, with a model that is open."""

    @abstractmethod
    def do(self, number: int, block: Sequence[Numbered], again: bool, desk: Desk) -> None:
        """Work on a block, and hand in a result for each file that has none.

        Args:
            number: of the block.
            block: the numbered files.
            again: whether a worker that had it has died: each file is begun by `desk.may`, and left out if it may not.
            desk: the worker's.

        Raises:
            CaeRuntimeError: the whole call is to end with it.
            KeyboardInterrupt: the work is to end.
        """

    @abstractmethod
    def left_out(self, number: int, job: Job) -> Any:
        """Return the result of a file of a block that has ended too many workers; its reason is `CRASHES`."""

    def give_up(self, number: int, block: Sequence[Numbered], desk: Desk) -> None:
        """Hand in a result for each file of a block that has ended too many workers, although no file was begun."""
        for file, job in block:
            if desk.known(file) is None:
                desk.hand_in(file, self.left_out(number, job))

    def pictures(self, number: int, block: Sequence[Numbered], again: bool, desk: Desk) -> Iterator[Opened]:
        """Yield the pictures of a block while the next one is read; in a repeated block, each is read alone.

        For the arguments see `do`. Pictures that have ended too many workers are handed in, and not yielded.
        """
        if not again:
            yield from opened_quietly([job for _, job in block], lambda *_: desk.look())
            return
        for file, job in block:
            desk.look()
            if desk.may(file):
                yield from opened_quietly([job], lambda *_: desk.look())
            else:
                desk.hand_in(file, self.left_out(number, job))


class Work(ABC):
    """Describes the work of a call; it is pickled."""

    @abstractmethod
    def opened(self, session: Session) -> Doer:
        """Return what does it.

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
