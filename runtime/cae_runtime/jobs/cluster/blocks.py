"""Divides the files of a call into blocks; each block is one task for a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cae_runtime.jobs.planning import Job
from cae_runtime.places.address import Address

FILES_MOST: Final = 16
_BYTES_MOST: Final = 8 * 2**20  # bytes of the sources in a block: some seconds of work
_SHARES: Final = 4  # blocks per worker, so that all workers finish at about the same time

Numbered = tuple[int, Job]


def blocks_of(jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
    """Divide numbered files into blocks: first one block for each video, then blocks of a few pictures.

    Args:
        jobs: the files.
        workers: the number of workers.
    """
    numbered = list(enumerate(jobs))
    blocks = [[each] for each in numbered if each[1].video]
    pictures = [each for each in numbered if not each[1].video]
    most = max(1, min(FILES_MOST, len(pictures) // (workers * _SHARES)))
    size = 0
    block: list[Numbered] = []
    for each in pictures:
        length = _size(each[1])
        if block and (len(block) >= most or size + length > _BYTES_MOST):
            blocks.append(block)
            block, size = [], 0
        block.append(each)
        size += length
    return [*blocks, block] if block else blocks


def _size(job: Job) -> int:
    """Return the size of a source in bytes; 0 if it is not known."""
    if isinstance(job.source, Address):
        return job.source.size or 0
    try:
        return job.source.stat().st_size
    except OSError:
        return 0
