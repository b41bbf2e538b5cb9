"""Features of pictures, by the workers of a cluster: a folder of tables, `part-00000.npz` and so on."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.cluster.blocks import Numbered
from cae_runtime.jobs.cluster.engine import RayCluster, check_places
from cae_runtime.jobs.cluster.work import OpenedWork, Supervisor, Work
from cae_runtime.jobs.encode import OUTPUTS, checked, rows_of, written
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.features.existing_table import Found
from cae_runtime.jobs.features.table import Rows, read_rows, write_table
from cae_runtime.jobs.opened_images import each_once, images_of, opened_quietly
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import check_folder, path_kind, prepare_output
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.progress import Progress
from cae_runtime.places import store
from cae_runtime.places.address import Address, Place
from cae_runtime.places.copies import local_copy
from cae_runtime.tasks.encode import Encoder
from cae_shared.text import counted

_log = logging.getLogger(__name__)

PICTURES: Final = 50  # of a part; with another number, folders of earlier calls are not continued
_PART: Final = re.compile(r"part-(\d{5,})\.npz")


@dataclass(frozen=True)
class Encoded:
    """The result of one picture.

    Attributes:
        source: the picture.
        part: the number of its table.
        status: `done`; `skipped`: the table exists and has it; or `failed`.
        reason: why it failed.
        rows: how many it has.
        features: how many numbers are in a row.
        provider: full name of the onnxruntime provider.
        node: the node of the cluster.
    """

    source: str
    part: int
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    rows: int = 0
    features: int = 0
    provider: str = ""
    node: str = ""


def run(session: Session, request: Request, cluster: RayCluster) -> Outcome:
    """Write the features of all pictures to tables in the folder `request.output`, each of 50 pictures in their order.

    A table is like that of a call without a cluster, and whole or absent. Those that exist are kept; pictures that they
    lack, since these had failed, are tried again. With `request.overwrite` all are removed first, as soon as
    the cluster answers.

    Raises:
        UsageError: an output that is no folder, or whose tables were made by another model or of other pictures.
        CaeRuntimeError: as `Encoder` and `RayCluster.run` raise it.
    """
    out = request.output
    if out.suffix.lower() in OUTPUTS and path_kind(out, "output") != "folder":
        raise UsageError(
            f"output {str(out)!r}: a cluster writes features to a folder of tables, {_name(0)} and so on: name a folder"
        )
    if request.projection is not None:
        raise UsageError("projection is for maps, and a cluster writes tables")
    if isinstance(out, Address):
        store.check_writable(out)
    else:
        check_folder(out)
    plan = replace(each_once(images_of(request.sources, out)), folder=out)
    check_places(plan)
    work = Encoding(out, request.per_patch, request.overlap, request.batch)
    encoding = work.opened(session)
    there = _parts_in(out)
    if not request.overwrite:
        _check_there(there, encoding, plan, out)
    prepare_output(out)

    def remove_others() -> None:
        for part in there.values() if request.overwrite else ():
            _remove(part)

    found: list[Encoded] = []
    if plan.jobs:
        with (
            Progress(len(plan.jobs), "encoding") as progress,
            contextlib.closing(cluster.run(plan.jobs, work, session, out, on_start=remove_others)) as results,
        ):
            for each in results:
                found.append(each)
                progress.on_file()
    return _outcome(found, plan, request, session)


@dataclass(frozen=True)
class Encoding(Work):
    """Writes tables of features; the arguments are those of the request."""

    folder: Place
    per_patch: bool
    overlap: int | None
    batch: int | None

    def opened(self, session: Session) -> _Encoding:
        """Return the object that writes tables; see `Work`."""
        return _Encoding(Encoder(session, overlap=self.overlap, batch=self.batch), self)

    def tasks(self, jobs: Sequence[Job]) -> int:
        """Return how many tables there are."""
        return -(-len(jobs) // PICTURES)

    def blocks(self, jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
        """Divide the pictures into those of the tables, whatever the number of workers."""
        numbered = list(enumerate(jobs))
        return [numbered[begin : begin + PICTURES] for begin in range(0, len(jobs), PICTURES)]


class _Encoding(OpenedWork):
    def __init__(self, encoder: Encoder, work: Encoding) -> None:
        self._encoder, self._work = encoder, work

    def do(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> None:
        """Write a table, or complete it."""
        table = self._work.folder / _name(number)
        found = self.found_in(table, [job for _, job in block])
        if found is None:
            with written(table) as here:
                write_table(here, self._rows(number, block, again, worker))
            return
        made, width = Encoded("", number, "skipped"), found.values.shape[1]
        for file, job in block:
            rows = found.rows.get(source := str(job.source))
            if rows and worker.known(file) is None:  # otherwise a worker of this call, which has died, has written them
                worker.hand_in(file, replace(made, source=source, rows=rows, features=width))
        left = [(file, job) for file, job in block if str(job.source) not in found.rows]
        if more := list(self._rows(number, left, again, worker)):
            with local_copy(table) as here:
                rows_of_all = {rows.path: rows for rows in (*read_rows(here), *more)}
            with written(table) as here:
                write_table(here, (rows_of_all[path] for _, job in block if (path := str(job.source)) in rows_of_all))

    def found_in(self, table: Place, jobs: Sequence[Job]) -> Found | None:
        """Return what a table holds; None if there is none.

        Raises:
            UsageError: another model made it, or it is of other pictures.
        """
        if path_kind(table, "output") == "missing":
            return None
        by_name = {str(job.source): job for job in jobs}

        def anew(source: str) -> Floats | None:
            (picture,) = opened_quietly([by_name[source]], lambda *_: None)
            rows, _ = rows_of(self._encoder, picture, self._work.per_patch)
            return None if rows is None else rows.values

        name = self._encoder.session.name
        return checked(table, by_name.keys(), self._work.per_patch, name, anew, partly=True)

    def _rows(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> Iterator[Rows]:
        """Yield the rows of pictures, and hand in what became of each."""
        files = {str(job.source): file for file, job in block}
        for picture in self.pictures(number, block, again, worker):
            worker.look()
            rows, reason = rows_of(self._encoder, picture, self._work.per_patch)
            source, provider = str(picture.job.source), self._encoder.session.provider
            if rows is None:
                worker.hand_in(files[source], Encoded(source, number, "failed", reason))
                continue
            count, width = rows.values.shape
            worker.hand_in(files[source], Encoded(source, number, "done", "", count, width, provider))
            yield rows

    def left_out(self, number: int, job: Job, reason: str) -> Encoded:
        """Return the result of a picture that is left out."""
        return Encoded(str(job.source), number, "failed", reason)

    def give_up(self, number: int, block: Sequence[Numbered], reason: str, worker: Supervisor) -> None:
        """Report all pictures of a table as failed, even those whose rows were computed, since it is not written."""
        for file, job in block:
            known = worker.known(file)
            if known is None or known.status == "done":
                worker.hand_in(file, self.left_out(number, job, reason))


def _name(number: int) -> str:
    return f"part-{number:05}.npz"


def _parts_in(folder: Place) -> dict[int, Place]:
    """Return the tables of a folder by their numbers.

    Raises:
        UsageError: it cannot be accessed.
    """
    places: Iterable[Place] = ()
    try:
        if isinstance(folder, Address):
            places = [place for place in store.files_below(folder) if place.parent == folder]
        elif folder.is_dir():
            places = folder.iterdir()
        found = {int(match[1]): place for place in places if (match := _PART.fullmatch(place.name))}
    except OSError as e:
        raise UsageError(f"output folder {str(folder)!r} cannot be accessed: {e.strerror}") from e
    return dict(sorted(found.items()))


def _check_there(there: dict[int, Place], encoding: _Encoding, plan: Plan, folder: Place) -> None:
    """Refuse tables of other calls before one is written; workers look at all of them.

    Raises:
        UsageError: there are such.
    """
    parts = -(-len(plan.jobs) // PICTURES)
    if others := [place for number, place in there.items() if number >= parts]:
        raise UsageError(
            f"output {str(others[0])!r} exists, and {counted(len(plan.jobs), 'picture')} make "
            f"{counted(parts, 'table')} only: overwrite=True writes all of them anew, or name another folder"
        )
    for number in list(there)[:1]:
        encoding.found_in(folder / _name(number), plan.jobs[number * PICTURES : (number + 1) * PICTURES])


def _remove(part: Place) -> None:
    try:
        if isinstance(part, Address):
            store.remove(part)
        else:
            part.unlink(missing_ok=True)
    except OSError as e:
        raise UsageError(f"output {str(part)!r} cannot be removed: {e.strerror}") from e


def _outcome(found: Sequence[Encoded], plan: Plan, request: Request, session: Session) -> Outcome:
    """Report what failed, and return the outcome."""
    order = {str(job.source): number for number, job in enumerate(plan.jobs)}
    found = sorted(found, key=lambda each: order[each.source])
    failed = [{"source": str(at.path), "reason": at.reason} for at in plan.unreadable]
    failed += [{"source": each.source, "reason": each.reason} for each in found if each.status == "failed"]
    for line in failures([(each["source"], each["reason"]) for each in failed], plan):
        _log.info("%s", line)
    parts: dict[int, dict[str, Any]] = {}
    for each in (one for one in found if one.status != "failed"):
        part = parts.setdefault(
            each.part, {"file": _name(each.part), "status": "skipped", "images": 0, "rows": 0, "node": each.node}
        )
        part["images"] += 1
        part["rows"] += each.rows
        part["status"] = "done" if each.status == "done" else part["status"]
    images, rows = (sum(part[key] for part in parts.values()) for key in ("images", "rows"))
    width = next((each.features for each in found if each.features), 0)
    provider = next((each.provider for each in found if each.provider), session.provider)
    kept = sum(part["status"] == "skipped" for part in parts.values())
    if kept:
        _log.info("skipped: %s, with the rows of these pictures (overwrite=True replaces all)", counted(kept, "table"))
    if len(parts) > kept:
        what = counted(images, "image")
        what = f"{rows} patches of {what}" if request.per_patch else what
        _log.info(
            "%s, %s features each, in %s, %s -> %s/",
            what,
            width,
            counted(len(parts), "table"),
            provider,
            request.output,
        )
    return Outcome(
        {
            "output": str(request.output) if parts else None,
            "provider": provider,
            "images": images,
            "rows": rows,
            "features": width,
            "parts": list(parts.values()),
            "left_out": len(plan.left_out),
            "failed": failed,
        },
        failed=bool(failed),
    )
