"""Records the state of each file in one place, since workers and nodes may die and their files are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

TRIES: Final = 3  # a file during which so many workers died is left out


@dataclass(frozen=True)
class Opened:
    """The answer to a worker that opens a block.

    Attributes:
        stopped: whether the call is ending: the worker skips the block.
        again: whether a worker died in this block before: its files are then cleaned one by one.
        hopeless: whether too many workers have died in this block, although none of its files was begun.
        rows: pickled results that are known already, by the number of the file.
    """

    stopped: bool = False
    again: bool = False
    hopeless: bool = False
    rows: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Death:
    """A worker that died.

    Attributes:
        node: where it ran.
        files: the numbers of the files that it may have died of.
        with_node: whether the whole node has died, so that no file is to blame.
        tries: of a file that it had alone, how many workers that has ended; 0 where it had several.
    """

    node: str
    files: tuple[int, ...]
    with_node: bool = False
    tries: int = 0


@dataclass
class _Block:
    """An open block: its files, and the node of its last worker."""

    files: tuple[int, ...]
    node: str
    together: bool = True  # several files at once: if the worker dies, it is not known which one was the reason
    deaths: int = 0  # of workers that had begun none of its files, such as while a table is written


class Ledger:
    """The record of one call. Workers open a block, announce each file of a repeated block, and hand in results.

    At first, a block is cleaned like a folder: while one picture is cleaned, the next one is read. If the worker dies,
    any of these files may be the reason. The block is then repeated file by file, to find out which one it is.

    Args:
        is_alive: returns whether a node still runs. If a worker died with its node, this does not count against a file.
        setup: the common settings of all workers, pickled.
    """

    def __init__(self, is_alive: Callable[[str], bool] | None = None, setup: bytes = b"") -> None:
        self._is_alive = is_alive or _is_alive
        self._setup = setup
        self._untold: list[Death] = []
        self._blocks: dict[int, _Block] = {}
        self._rows: dict[int, bytes] = {}
        self._begun: dict[int, str] = {}  # file that is cleaned alone -> node
        self._deaths: dict[int, int] = {}
        self._busy: set[int] = set()
        self._stopped = False
        self._has_worker = False

    def setup(self) -> bytes:
        """Return what workers are given, pickled."""
        self._has_worker = True
        return self._setup

    def has_worker(self) -> bool:
        """Return whether a worker has started."""
        return self._has_worker

    def open(self, number: int, node: str, files: Iterable[int]) -> Opened:
        """Open a block, for the first time or because a worker died.

        Args:
            number: the number of the block.
            node: the node of the worker.
            files: the numbers of the files.
        """
        block = self._blocks.get(number)
        again = block is not None
        if block is None:
            block = self._blocks[number] = _Block(tuple(files), node)
        elif block.together:
            block.together = False
            left = tuple(file for file in block.files if file not in self._rows)
            self._died(block.node, left, alone=False)
        elif number in self._busy and self._begun.keys().isdisjoint(block.files) and self._is_alive(block.node):
            block.deaths += 1
            self._untold.append(Death(block.node, block.files))
        block.node = node
        if not self._stopped:
            self._busy.add(number)
        rows = {file: self._rows[file] for file in block.files if file in self._rows}
        return Opened(self._stopped, again, block.deaths >= TRIES, rows)

    def begin(self, file: int, node: str) -> bool:
        """Record that a file is cleaned alone; return False if too many workers died on it, and it must be left out."""
        before = self._begun.get(file)
        if before is not None:
            self._died(before, (file,), alone=True)
        self._begun[file] = node
        return self._deaths.get(file, 0) < TRIES

    def _died(self, node: str, files: tuple[int, ...], *, alone: bool) -> None:
        """Note that a worker has died, which counts against its files unless the whole node has."""
        blame = self._is_alive(node)
        for file in files if blame else ():
            self._deaths[file] = self._deaths.get(file, 0) + 1
        if files:
            self._untold.append(Death(node, files, not blame, self._deaths.get(files[0], 0) if alone else 0))

    def deaths(self) -> list[Death]:
        """Return the workers that have died since this was asked before."""
        untold, self._untold = self._untold, []
        return untold

    def done(self, file: int, row: bytes) -> None:
        """Store the result of a file."""
        self._rows[file] = row
        self._begun.pop(file, None)

    def close(self, number: int) -> None:
        """Record that the worker has finished a block."""
        self._busy.discard(number)

    def stop(self) -> None:
        """Tell the workers to stop."""
        self._stopped = True

    def stopped(self) -> bool:
        """Return whether the workers must stop."""
        return self._stopped

    def busy(self) -> bool:
        """Return whether a worker is cleaning a block."""
        return bool(self._busy)

    def rows(self) -> dict[int, bytes]:
        """Return all results, by the number of the file."""
        return self._rows


def _is_alive(node: str) -> bool:
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
