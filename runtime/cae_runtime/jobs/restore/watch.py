"""Cleans what arrives in folders, until Ctrl-C, with the extra `watch` (watchfiles)."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.paths import check_folder, mode_of, prepare_output
from cae_runtime.jobs.planning import Job, Plan, make_plan, with_ending
from cae_runtime.jobs.progress_log import ProgressLog
from cae_runtime.jobs.restore.extras import check_extras
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.report import summary
from cae_runtime.jobs.restore.restore_files import clean_each, restorer_of
from cae_runtime.jobs.restore.results import FileResult, Restored, unreadable_results
from cae_runtime.jobs.walking import Unreadable
from cae_runtime.places.address import Place, local_path
from cae_runtime.tasks.restore import Restorer
from cae_shared.signals import exit_code, interruptible

_log = logging.getLogger(__name__)

INSTALL: Final = "pip install 'cae-toolkit[watch]' (in a checkout: pip install -e '.[watch]')"
_STILL: Final = 1.0  # seconds for which a file that is complete does not change
_LOOK_EVERY_MS: Final = 1000
_LOOK_ANYWAY: Final = 30  # times that nothing had changed
_CTRL_C: Final = 130  # exit code

State = tuple[int, int]  # size in bytes and time of the last change in ns


@dataclass(frozen=True)
class Arrival:
    """A file that is complete as far as can be seen: it has not changed for a second."""

    job: Job
    state: State


class Inbox:
    """Finds files in folders that are complete and have no output yet.

    Args:
        plan: finds all files and their outputs, anew at each call.
        clock: returns the time in seconds.
    """

    def __init__(self, plan: Callable[[], Plan], clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock = plan, clock
        self._seen: dict[Place, tuple[State, float]] = {}  # and since when
        self._done: dict[Place, State] = {}
        self._made: dict[Place, Place] = {}  # what the outputs of this call were made from
        self.waiting = False  # whether some file has to be looked at again

    def look(self) -> tuple[list[Arrival], Plan]:
        """Return the files that have not changed for a second and were not taken in this state, and all files."""
        plan, now = self._plan(), self._clock()
        plan = replace(plan, jobs=tuple(self._apart_from_earlier(job) for job in plan.jobs))
        states = {job.source: state for job in plan.jobs if (state := _state(job.source)) is not None}
        new = [
            Arrival(job, states[job.source]) for job in plan.jobs if job.source in states and self._is_new(job, states)
        ]
        # Events of other files may let two looks follow each other within moments.
        self._seen = {source: (state, self._since(source, state, now)) for source, state in states.items()}
        ready = [each for each in new if now - self._seen[each.job.source][1] >= _STILL]
        self.waiting = len(ready) < len(new)
        return ready, plan

    def took(self, arrival: Arrival) -> None:
        """Remember that a file was processed in this state; it is taken again once it changes."""
        self._done[arrival.job.source] = arrival.state
        self._made.setdefault(arrival.job.output, arrival.job.source)

    def _since(self, source: Place, state: State, now: float) -> float:
        """Return since when a file is known to be in a state."""
        before, since = self._seen.get(source, (None, now))
        return since if before == state else now

    def _is_new(self, job: Job, states: Mapping[Place, State]) -> bool:
        """Return whether a file was not taken in its state, and has no output."""
        return self._done.get(job.source) != states[job.source] and mode_of(local_path(job.output, "output")) is None

    def _apart_from_earlier(self, job: Job) -> Job:
        """Return a job with an output name that no earlier file has used, even if that file is gone."""
        return job if self._made.get(job.output, job.source) == job.source else with_ending(job)


class _Unread:
    """Names files that cannot be read, or are of kinds that are not, when they arrive."""

    def __init__(self) -> None:
        self._told: set[Unreadable] = set()

    def new_in(self, plan: Plan) -> list[str]:
        """Return a line for each such file that was not there at the last call."""
        found = set(plan.unreadable)
        new = [at for at in plan.unreadable if at not in self._told]
        self._told = found
        return failures([(str(at.path), at.reason) for at in new], replace(plan, unreadable=tuple(new)))


class _Clock:
    """Counts the seconds of work, not those of waiting."""

    seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start


def watch(session: Session, sources: Sequence[Path], output: Path, options: RestoreOptions) -> Restored:
    """Clean what is in the folders and what arrives there, until Ctrl-C. Existing outputs are skipped.

    A file is taken when its size and time have not changed for a second. One that fails is tried again once it changes.

    Args:
        session: the model.
        sources: the folders.
        output: the folder that they are mirrored into.
        options: how.

    Returns:
        What was done; `interrupted` is true after SIGTERM, and false after Ctrl-C, which is how watching ends.

    Raises:
        UsageError: the extra is missing, a source is no folder, or as `restore_files` raises it.
    """
    try:
        import watchfiles
    except ImportError as e:
        raise UsageError(f"watching folders needs an extra: {INSTALL}") from e
    _check(sources, options)
    check_folder(output)
    inbox = Inbox(
        lambda: make_plan(
            sources, output, suffix=options.suffix, ext=options.ext, out_is_folder=True, may_be_empty=True
        )
    )
    check_extras(inbox.look()[1].jobs, sources, options.coding)
    restorer = restorer_of(session, options)
    prepare_output(output)
    for line in restorer.remarks:
        _log.info("%s", line)
    _log.info("watching %s: Ctrl-C ends", ", ".join(repr(str(source)) for source in sources))
    events = watchfiles.watch(
        *sources, watch_filter=None, rust_timeout=_LOOK_EVERY_MS, yield_on_timeout=True, debounce=_LOOK_EVERY_MS,
        ignore_permission_denied=True,  # a folder that cannot be read is named by the plan
    )  # fmt: skip
    clock = _Clock()
    with interruptible():
        results, plan = _cleaned_until_stopped(events, inbox, restorer, options, clock)
        results = list({result.source: result for result in results}.values())  # how each ended
        results += unreadable_results(restorer, plan.unreadable)
        whole = replace(plan, jobs=tuple(Job(Path(each.source), Path(each.output)) for each in results if each.output))
        terminated = exit_code() != _CTRL_C
        restored = Restored(whole, tuple(results), restorer, clock.seconds, interrupted=terminated)
        for line in summary(restored):
            _log.info("%s", line)
    return restored


def _cleaned_until_stopped(
    events: Iterable[object], inbox: Inbox, restorer: Restorer, options: RestoreOptions, clock: _Clock
) -> tuple[list[FileResult], Plan]:
    """Clean what arrives until a signal comes; return the results and the last plan."""
    results: list[FileResult] = []
    written: list[FileResult] = []
    plan, trouble, unread = Plan((), (), Path()), "", _Unread()
    try:
        for _ in _when_to_look(events, inbox):
            try:
                ready, plan = inbox.look()
            except UsageError as e:  # two files that would become one output, or a folder that is gone
                if str(e) != trouble:
                    _log.info("%s", e)
                trouble = str(e)
                continue
            for line in unread.new_in(plan):
                _log.info("%s", line)
            for arrival in ready:
                inbox.took(arrival)
            with clock:
                told = ProgressLog(len(ready), "cleaning", lambda line: _log.info("%s", line))
                for result in clean_each(
                    [each.job for each in ready], restorer, options,
                    on_frame=told.on_frame, on_part=told.on_part, on_result=written.append,
                ):  # fmt: skip
                    results.append(result)
                    _tell(result)
    except KeyboardInterrupt:
        known = {(result.output, result.status) for result in results}  # a file may have failed before
        results += [result for result in written if (result.output, result.status) not in known]
    return results, plan


def _when_to_look(events: Iterable[object], inbox: Inbox) -> Iterator[None]:
    """Yield when something has changed or has to be looked at again; twice a minute in any case.

    Folders of other machines may send no events.
    """
    inbox.waiting = True
    idle = 0
    for changes in itertools.chain([None], events):
        idle = 0 if changes else idle + 1
        if changes or inbox.waiting or idle % _LOOK_ANYWAY == 0:
            yield


def _check(sources: Sequence[Path], options: RestoreOptions) -> None:
    if options.fills or options.overwrite:
        raise UsageError("watched folders keep existing outputs and take no masks: leave out masks and overwrite=True")
    for source in sources:
        if not source.is_dir():
            raise UsageError(f"source {str(source)!r} is not a folder: only folders are watched")


def _tell(result: FileResult) -> None:
    if result.status == "failed":
        _log.info("failed: %r %s", result.source, result.reason)
    else:
        _log.info("%r -> %r", result.source, result.output)


def _state(place: Place) -> State | None:
    try:
        found = local_path(place, "source").stat()
    except OSError:  # removed meanwhile
        return None
    return found.st_size, found.st_mtime_ns
