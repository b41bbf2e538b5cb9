"""Divides the files of a call into blocks, each of which is one task for a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cae_runtime.jobs.planning import Job
from cae_runtime.places.address import Address

FILES_MOST: Final = 16
_BYTES_MOST: Final = 8 * 2**20  # of the sources: some seconds of work
_SHARES: Final = 4  # blocks per worker, so that all end at about the same time

Numbered = tuple[int, Job]


def blocks_of(jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
    """Return the numbered files in blocks: each video alone and before the pictures, then a few pictures each.

    Args:
        jobs: the files.
        workers: how many workers there are.
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
    """Return the bytes of a source; 0 where they are not known."""
    if isinstance(job.source, Address):
        return job.source.size or 0
    try:
        return job.source.stat().st_size
    except OSError:
        return 0
