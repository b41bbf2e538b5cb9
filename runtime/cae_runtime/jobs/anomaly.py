"""Anomalies among images: a heat map each, a table of their scores, and a contact sheet with the worst first."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.heat_maps.judge import Judge, Judged, judged, read_region, refuse_region
from cae_runtime.jobs.heat_maps.names import OF_BAD, SHEET, key_of, maps_beside, plan_of, results_of, with_bad
from cae_runtime.jobs.heat_maps.partial_scores import PARTS, has_begun, parts_in, remove_parts, write_part
from cae_runtime.jobs.heat_maps.separation import separation
from cae_runtime.jobs.heat_maps.sheet import drawn_sheet
from cae_runtime.jobs.heat_maps.single_picture import judge_one, names_one
from cae_runtime.jobs.heat_maps.summary import Found, summary
from cae_runtime.jobs.heat_maps.table import TABLE, Verdict, inside, read_table, results_in, written_table
from cae_runtime.jobs.heat_maps.threshold import PictureNotes, chosen_limit, identity_of_model
from cae_runtime.jobs.opened_images import opened
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import check_folder, path_kind, prepare_output, spelling_of
from cae_runtime.jobs.planning import Job, Plan, refuse_overwriting
from cae_runtime.places.address import local_path, place_of
from cae_runtime.tasks.anomaly.detector import Detector

_log = logging.getLogger(__name__)


Elsewhere = Callable[[Judge, Plan, Sequence[Job], Path], Iterator[Judged]]


def run(session: Session, request: Request, elsewhere: Elsewhere | None = None) -> Outcome:
    """Write to the folder `request.output` a heat map for each picture, the scores and a contact sheet, worst first.

    Pictures that have a heat map and a score in the table are skipped, unless `request.overwrite` is set. If the only
    source is a file and the output has an image's name, only its heat map is written.

    Args:
        session: the model.
        request: what to do.
        elsewhere: scores pictures of the plan in the place of this process, and writes their maps below a folder.

    Raises:
        UsageError: sources without images, an output that cannot be written or is not of this model, a threshold that
            the model cannot have, or a region that cannot be read.
        ModelError, ProviderError: see `Detector`.
    """
    out = request.folder
    limit = chosen_limit(session.spec, request.false_alarms, request.threshold)
    detector = Detector(session, batch=request.batch)
    judge = Judge(
        detector, limit.threshold, read_region(request.region), raw_maps=request.raw_maps,
        defect_masks=request.defect_masks,
    )  # fmt: skip
    if names_one(request):
        if elsewhere is not None:
            raise UsageError(f"output {str(out)!r}: a cluster writes heat maps to folders: name a folder")
        return judge_one(judge, limit, request)
    folder = _Folder(request, identity_of_model(session, judge.region), judge)
    if not folder.to_do:
        _log.info("skipped: %r has all scores (overwrite=True finds them anew)", str(out / TABLE))
    prepare_output(out)
    if request.overwrite:
        remove_parts(out)
    found = folder.judged(elsewhere)
    for line in failures([(verdict.source, verdict.reason) for verdict in found.failed], folder.plan):
        _log.info("%s", line)
    folder.write(found)
    remove_parts(out)
    split = separation(found.scores(""), found.scores(OF_BAD), limit.threshold) if request.bad else None
    provider = found.provider or session.provider
    for line in summary(found, limit, split, provider, out):
        _log.info("%s", line)
    return Outcome(
        {
            "output": str(out),
            "model": session.path.name,
            "provider": provider,
            **limit.document(),
            "anomalies": found.anomalies,
            "left_out": len(folder.plan.left_out),
            **({"skipped": True} if not folder.to_do else {}),
            **({"bad": None if split is None else asdict(split)} if request.bad else {}),
            "files": [verdict.document() for verdict in (*found.scored, *found.failed)],
        },
        failed=bool(found.failed),
        anomalies=found.anomalies,
    )


class _Folder:
    """A folder of heat maps: the existing ones, and the ones to make.

    Attributes:
        plan: the pictures of this call, bad ones included.
        to_do: those that have no score yet.
    """

    def __init__(self, request: Request, model: str, judge: Judge) -> None:
        self._request, self._model, self._judge, self._out = request, model, judge, request.folder
        check_folder(self._out)
        table, sheet = self._out / TABLE, self._out / SHEET
        again = path_kind(table, "output") != "missing"
        parts = [] if request.overwrite else list(parts_in(self._out).values())
        self._begun = has_begun(self._out)
        rows = [row for each in (table, *parts) for row in results_in(each)]
        self._made = results_of(rows, self._out) if again or parts else set()
        self.plan = plan_of(request.sources, self._out, self._made)
        if self._begun:  # what it has written may be in no part yet
            self._made |= {spelling_of(job.output) for job in self.plan.jobs}
            self.plan = plan_of(request.sources, self._out, self._made)
        self._bad: set[str] = set()
        if request.bad is not None:
            bad = plan_of((request.bad,), self._out / OF_BAD, self._made)
            self._bad = {str(job.source) for job in bad.jobs} | {str(at.path) for at in bad.unreadable}
            self.plan = with_bad(self.plan, bad, request.bad)
        heat_maps = [local_path(job.output, "output") for job in self.plan.jobs]
        further = [table, sheet, *(path for each in heat_maps for path in judge.beside(each).values())]
        refuse_overwriting(self.plan.jobs, further)
        refuse_region(request.region, [*further, *heat_maps])
        if path_kind(sheet, "output") != "missing" and not (again or self._begun or request.overwrite):
            raise UsageError(f"output {str(sheet)!r} exists, but no table of scores does: overwrite=True replaces it")
        self._known: dict[str, tuple[str, float]] = {}
        for each in () if request.overwrite else (table, *parts):
            self._known |= read_table(each, model)
        self.to_do = [job for job in self.plan.jobs if self._is_to_do(job)]

    def _is_to_do(self, job: Job) -> bool:
        """Whether a picture has to be scored.

        Raises:
            UsageError: one of its results exists, but is not in the table, or that of another picture.
        """
        if self._request.overwrite:
            return True
        output = local_path(job.output, "output")
        there = [path for path in self._judge.outputs(output) if path_kind(path, "output") != "missing"]
        row = self._known.get(inside(self._out, output))
        unknown = [path for path in there if row is None or spelling_of(path) not in self._made]
        if unknown and not self._begun:
            raise UsageError(
                f"output {str(unknown[0])!r} exists, but is not in the table of scores: overwrite=True "
                "replaces it, or choose another folder"
            )
        if (
            there
            and row is not None
            and row[0] != str(job.source)
            and spelling_of(place_of(row[0])) != spelling_of(job.source)
        ):
            raise UsageError(
                f"output {str(there[0])!r} is of {row[0]!r}, not of {str(job.source)!r}: overwrite=True replaces "
                "it, or name another folder"
            )
        return row is None or len(there) < len(self._judge.outputs(output))

    def judged(self, elsewhere: Elsewhere | None) -> Found:
        """Score the new pictures, write their maps, and add the known scores."""
        notes = PictureNotes(self._judge.detector.session.spec)
        provider = ""
        made: dict[str, Verdict] = {}
        with contextlib.closing(self._here() if elsewhere is None else self._there(elsewhere)) as pictures:
            for each in pictures:
                if each.looks is not None:
                    notes.add(each.looks, each.verdict.source)
                provider = provider or each.provider
                heat_map = Path(each.output)
                maps = {} if each.verdict.score is None else self._maps(heat_map, self._judge.beside(heat_map))
                made[each.output] = replace(each.verdict, raw_map=maps.get("raw_map", ""), mask=maps.get("mask", ""))
        verdicts = [Verdict(str(at.path), "failed", at.reason) for at in self.plan.unreadable]
        verdicts += [made[str(job.output)] for job in self.to_do]
        verdicts += [
            self._earlier(str(job.source), local_path(job.output, "output"))
            for job in self.plan.jobs
            if str(job.output) not in made
        ]
        labeled = [replace(one, label=OF_BAD) if one.source in self._bad else one for one in verdicts]
        scored = sorted((one for one in labeled if one.score is not None), key=lambda one: -(one.score or 0))
        failed = [one for one in labeled if one.status == "failed"]
        return Found(scored, failed, list(notes.lines()), provider)

    def _here(self) -> Generator[Judged, None, None]:
        """Score pictures in this process; where that is ended, a part of the table keeps the scores so far, if any."""
        if not self.to_do:
            return
        prepare_output(self._out / PARTS)
        done: list[Verdict] = []
        try:
            for picture in opened(replace(self.plan, jobs=tuple(self.to_do)), "looking"):
                each = judged(self._judge, picture)
                done.append(each.verdict)
                yield each
        except BaseException:
            if done or self._begun or self._has_output():
                number = max(parts_in(self._out), default=-1) + 1
                write_part(self._out, number, done, self._judge.threshold, self._model)
            else:
                remove_parts(self._out)
            raise

    def _has_output(self) -> bool:
        """Whether there is a map of a picture that is to do."""
        outputs = (each for job in self.to_do for each in self._judge.outputs(local_path(job.output, "output")))
        return any(path_kind(each, "output") != "missing" for each in outputs)

    def _there(self, elsewhere: Elsewhere) -> Generator[Judged, None, None]:
        if self.to_do:
            yield from elsewhere(self._judge, self.plan, self.to_do, self._out)

    def _earlier(self, source: str, heat_map: Path) -> Verdict:
        score = self._known[inside(self._out, heat_map)][1]
        return Verdict(
            source, "skipped", "", str(heat_map), **self._maps(heat_map), score=score,
            anomaly=score > self._judge.threshold,
        )  # fmt: skip

    def _maps(self, heat_map: Path, new: Collection[str] = ()) -> dict[str, str]:
        """The maps beside a heat map: those that are new, and those of earlier calls that are still there."""
        return {
            kind: str(path)
            for kind, path in maps_beside(heat_map).items()
            if kind in new or (spelling_of(path) in self._made and path.is_file())
        }

    def _others(self, found: Found) -> list[Verdict]:
        """The pictures of earlier calls that this one does not name, also those whose files are gone.

        What was made of a picture of this call under another name, such as before it was known as bad, is removed.
        """
        mine = {inside(self._out, one.heat_map) for one in found.scored}
        named = {key_of(place_of(one.source)) for one in (*found.scored, *found.failed)}
        others = []
        for name, (source, _) in self._known.items():
            heat_map = self._out / name
            if name in mine:
                continue
            if key_of(place_of(source)) in named:
                for path in (heat_map, *maps_beside(heat_map).values()):
                    if spelling_of(path) in self._made:
                        path.unlink(missing_ok=True)
            elif heat_map.is_file():
                others.append(self._earlier(source, heat_map))
        return others

    def write(self, found: Found) -> None:
        """Write the table and the sheet, with the pictures of earlier calls whose heat maps are still there."""
        others = self._others(found)
        scored = sorted([*found.scored, *others], key=lambda one: -(one.score or 0))
        every = [*scored, *found.failed]
        table, sheet = self._out / TABLE, self._out / SHEET
        content = written_table(every, self._judge.threshold, self._out, self._model)
        if not self.to_do and sheet.is_file() and table.is_file() and table.read_bytes() == content:
            return
        drawn = drawn_sheet(scored)
        if drawn is None:  # remove those of an earlier call
            table.unlink(missing_ok=True)
            sheet.unlink(missing_ok=True)
            return
        write_file(sheet, drawn)
        write_file(table, content)
