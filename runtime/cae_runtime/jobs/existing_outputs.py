"""Finds the outputs of a plan that exist in a store already."""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import takewhile
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.jobs.paths import spelling_of
from cae_runtime.jobs.planning import Plan
from cae_runtime.places import store
from cae_runtime.places.address import Address

_FEW: Final = 8  # outputs that a store is asked for one by one, since a folder may hold many others


def with_existing(plan: Plan, overwrite: bool) -> Plan:
    """Return a plan whose jobs know which outputs exist in a store, by listing the store once.

    Args:
        plan: the work; outputs on this machine are looked at later, one by one.
        overwrite: whether they are replaced, so that nothing has to be known.

    Raises:
        UsageError: the store cannot be listed.
    """
    folder = plan.folder
    if overwrite or not isinstance(folder, Address) or len(plan.jobs) <= _FEW:
        return plan
    folders = [job.output.parent.parts for job in plan.jobs]
    shared = takewhile(lambda names: names[0] == names[1], zip(min(folders), max(folders), strict=False))
    folder = folder.in_root("/".join(name for name, _ in shared))  # beside which the store may hold much else
    try:
        there = {file.identity for file in store.files_below(folder)}
    except OSError as e:
        if e.errno == errno.ENXIO:
            raise UsageError(f"output folder {str(folder)!r} cannot be written to: {e.strerror}") from e
        raise UsageError(
            f"output folder {str(folder)!r} cannot be listed to see what is there: {e.strerror} (overwrite=True writes "
            "without looking)"
        ) from e
    jobs = (replace(job, exists=spelling_of(job.output) in there) for job in plan.jobs)
    return replace(plan, jobs=tuple(jobs))
