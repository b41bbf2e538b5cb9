"""What has become of each file, kept in one place: workers and their nodes may die, and their files are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

TRIES: Final = 3  # a file that has ended so many workers is left out


@dataclass(frozen=True)
class Opened:
    """What a worker is told when it opens a block.

    Attributes:
        stopped: the work is to end: nothing of the block is done.
        again: a worker that died had opened the block, so its files are done one by one.
        rows: results that are known, by the number of the file.
    """

    stopped: bool = False
    again: bool = False
    rows: dict[int, bytes] = field(default_factory=dict)


@dataclass
class _Block:
    """A block that was opened: its files, and where."""

    files: tuple[int, ...]
    node: str
    together: bool = True  # its files are done at once, so that it is not known which of them ended a worker


class Ledger:
    """The record of one call. Workers open a block, begin each file of a repeated one, and hand in results.

    In its first pass a block is cleaned like a folder: while one picture is cleaned, the next one is read. If the
    worker dies, any of these may be the reason. The block is then repeated file by file, until it is clear which it is.

    Args:
        is_alive: whether a node still runs. A file is not to blame for a worker that died with its node.
    """

    def __init__(self, is_alive: Callable[[str], bool] | None = None) -> None:
        self._is_alive = is_alive or _is_alive
        self._blocks: dict[int, _Block] = {}
        self._rows: dict[int, bytes] = {}
        self._begun: dict[int, str] = {}  # files that are worked on alone, and the node
        self._deaths: dict[int, int] = {}
        self._busy: set[int] = set()
        self._stopped = False

    def open(self, number: int, node: str, files: Iterable[int]) -> Opened:
        """Open a block, for the first time or because a worker died.

        Args:
            number: of the block.
            node: where the worker runs.
            files: the numbers of the files.
        """
        block = self._blocks.get(number)
        again = block is not None
        if block is None:
            block = self._blocks[number] = _Block(tuple(files), node)
        elif block.together:
            block.together = False
            if self._is_alive(block.node):
                for file in block.files:
                    if file not in self._rows:
                        self._deaths[file] = self._deaths.get(file, 0) + 1
        if not self._stopped:
            self._busy.add(number)
        rows = {file: self._rows[file] for file in block.files if file in self._rows}
        return Opened(self._stopped, again, rows)

    def begin(self, file: int, node: str) -> bool:
        """Note that a file is worked on alone; return False if it has ended too many workers, and is to be left out."""
        before = self._begun.get(file)
        if before is not None and self._is_alive(before):
            self._deaths[file] = self._deaths.get(file, 0) + 1
        self._begun[file] = node
        return self._deaths.get(file, 0) < TRIES

    def done(self, file: int, row: bytes) -> None:
        """Take the result of a file."""
        self._rows[file] = row
        self._begun.pop(file, None)

    def close(self, number: int) -> None:
        """Note that the worker has left a block."""
        self._busy.discard(number)

    def stop(self) -> None:
        """Tell the workers to end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Return whether the workers are to end."""
        return self._stopped

    def busy(self) -> bool:
        """Return whether some worker is in a block."""
        return bool(self._busy)

    def rows(self) -> dict[int, bytes]:
        """Return all results, by the number of the file."""
        return self._rows


def _is_alive(node: str) -> bool:
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
