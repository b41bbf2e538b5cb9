"""Cleans files on a cluster: Ray Data hands blocks of paths to workers, which return results."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cae_runtime.arguments import checked_whole
from cae_runtime.errors import ClusterError, ImageError, UsageError
from cae_runtime.inference.cpu_limits import THREADS_MAX
from cae_runtime.inference.model_files import DEFAULT_MODEL, read_model
from cae_runtime.inference.providers import AUTO, parse_provider
from cae_runtime.inference.session import Session
from cae_runtime.jobs.cluster.cleaning import Cleaning
from cae_runtime.jobs.cluster.connection import Workers, connected, workers_of
from cae_runtime.jobs.cluster.ledger import TRIES, Death, Ledger
from cae_runtime.jobs.cluster.tables import Tables
from cae_runtime.jobs.cluster.work import Work
from cae_runtime.jobs.cluster.worker import WHOLE_CALL, Setup, installed_version, packed
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.restore.engine import Engine
from cae_runtime.jobs.restore.images import notes_of
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import FileResult, output_is_there
from cae_runtime.places.address import Address, Place
from cae_runtime.tasks.restore import Restorer
from cae_shared.temporary import discard, temporary_beside
from cae_shared.text import counted

OnResult = Callable[[FileResult], None]

_log = logging.getLogger(__name__)

_CPU: Final = "cpu"
_ENDING: Final = 10.0  # seconds for workers to stop after Ctrl-C
_LOOK_EVERY: Final = 0.1
_START: Final = 60.0  # seconds for the first worker to start
_NO_WORKER: Final = (
    f"warning: no worker has started in {_START:.0f} seconds. Perhaps other work uses all CPUs of the cluster; this "
    "call waits until some are free"
)


@dataclass(frozen=True)
class RayCluster(Engine):
    """The workers of a Ray cluster, to clean a folder: `clean_folder("photos", "clean", RayCluster())`.

    Only paths and results go through Ray. Each worker reads and writes the files itself, so all nodes must see them
    under the same path. If a worker or node dies, its unfinished files are repeated; a file whose worker has died three
    times fails, and the others go on.

    Args:
        model: the name of a packaged model, the path of a file, or its bytes.
        address: `HOST:PORT` or `auto` for a cluster that this machine belongs to; None starts a cluster on this machine
            and stops it afterwards.
        provider: the execution provider of the workers, see `Restorer`; without GPUs, `auto` means `cpu`.
        threads: CPUs and threads of each worker; None means one, or more if there are fewer files than CPUs.
        gpus_per_worker: GPUs of each worker; with 0.5, two workers share one. None means 1 if `provider` names one for
            GPUs, such as `cuda`, otherwise 0.

    Raises:
        UsageError: an argument is not as listed above.
    """

    model: str | os.PathLike[str] | bytes = DEFAULT_MODEL
    address: str | None = None
    provider: str = AUTO
    threads: int | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        parse_provider(self.provider)
        if self.threads is not None:
            checked_whole("threads", self.threads, 1, THREADS_MAX, unless="None")
        if self.gpus_per_worker is not None and not self.gpus_per_worker >= 0:
            raise UsageError(f"gpus_per_worker is {self.gpus_per_worker}: it must be 0 or more")
        if self.address is not None and not (isinstance(self.address, str) and self.address):
            raise UsageError(f"address is {self.address!r}: it must be HOST:PORT, 'auto', or None")

    def opened(self) -> Restorer:
        """Return the model, opened in this process to read its metadata."""
        return Restorer(self.model, provider=_CPU, threads=1)

    def clean(
        self, plan: Plan, restorer: Restorer, options: RestoreOptions, on_result: OnResult
    ) -> Generator[FileResult, None, None]:
        """Clean the files of a plan; see `Engine`. Existing outputs are skipped before a cluster is connected to."""
        check_places(plan)
        left = []
        for job in plan.jobs:
            if _is_there(job, options):
                yield _skipped(job, restorer)
            else:
                left.append(job)
        if left:
            first = replace(plan, jobs=plan.jobs[:2], left_out=(), unreadable=())
            yield from self.run(left, Cleaning(options, first), restorer.session, plan.folder, on_result)

    def run(
        self,
        jobs: Sequence[Job],
        work: Work,
        session: Session,
        folder: Place,
        on_result: Callable[[Any], None] = lambda _: None,
        on_start: Callable[[], None] = lambda: None,
    ) -> Generator[Any, None, None]:
        """Yield the result of each file as it is ready; after KeyboardInterrupt, hand the others to `on_result`.

        Args:
            jobs: the files.
            work: what is done with them.
            session: the model, as it was opened in this process.
            folder: the output folder, which exists.
            on_result: called with results that are known and cannot be yielded.
            on_start: called when the cluster has answered, before the workers start.

        Raises:
            ClusterError: the cluster cannot be reached, or cannot do the work.
            CaeRuntimeError: as the workers raise it.
        """
        with connected(self.address) as ray, _marker(folder) as marker:
            gpus = float(_is_of_gpus(self.provider)) if self.gpus_per_worker is None else self.gpus_per_worker
            workers = workers_of(ray, work.tasks(jobs), self.threads, gpus)
            _log.info("ray: %s", workers)
            on_start()
            provider = _CPU if self.provider == AUTO and not gpus else self.provider
            setup = Setup(
                _content(self.model, session), session.name, provider, workers.cpus, work, Path.cwd(),
                (*marker, *_folders(jobs[:1])), installed_version(),
            )  # fmt: skip
            running = _Running(ray, jobs, setup, workers)
            try:
                yield from running.results()
            except (KeyboardInterrupt, GeneratorExit):
                for result in running.end():
                    on_result(result)
                raise
            except ray.exceptions.RayError as e:
                raise ClusterError(_what_stopped(e)) from e
            finally:
                running.close()


def check_places(plan: Plan) -> None:
    """Refuse addresses that cannot be used on a cluster.

    Raises:
        UsageError: an address is in `memory://`, which each process has for itself. Or it has a password or a query,
            which may be a signature: Ray would store it, since it records command lines and the workers' arguments.
    """
    for place in (plan.folder, *(job.source for job in plan.jobs)):
        if not isinstance(place, Address):
            continue
        if place.protocol == "memory":
            raise UsageError(
                f"{str(place)!r} is in the memory of this process, where the workers of a cluster cannot see it"
            )
        if place.secret or place.query:
            raise UsageError(
                f"{str(place)!r}: a cluster records command lines, so addresses with passwords or queries are refused: "
                "put credentials into the environment of the nodes"
            )


def _content(model: str | os.PathLike[str] | bytes, session: Session) -> bytes:
    """Return the bytes of the model file, so that the nodes do not need to see the file."""
    return model if isinstance(model, bytes) else read_model(session.path)


def _folders(jobs: Sequence[Job]) -> list[Path]:
    """Return the local folders that contain sources."""
    return [job.source.parent for job in jobs if isinstance(job.source, Path)]


def _is_there(job: Job, options: RestoreOptions) -> bool:
    try:
        return output_is_there(job, options.overwrite)
    except ImageError:  # a worker reports why
        return False


def _skipped(job: Job, restorer: Restorer) -> FileResult:
    return FileResult(
        str(job.source), str(job.output), "skipped", "the output exists", 0.0, None, None, restorer.provider, (),
        notes=(*notes_of(job),),
    )  # fmt: skip


def _is_of_gpus(provider: str) -> bool:
    choice = parse_provider(provider)
    return choice is not None and choice.provider.gpu


class _Running:
    """The files of a call while the cluster works on them."""

    def __init__(self, ray: Any, jobs: Sequence[Job], setup: Setup, workers: Workers) -> None:
        self._ray, self._jobs = ray, jobs
        ledger = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=_on_this_node(ray))
        self._ledger = ledger.remote(None, packed(setup))
        blocks = setup.work.blocks(jobs, workers.count)
        self._tables = Tables(ray, blocks, self._ledger, workers, self._tell)
        self._given: set[int] = set()
        self._patient_until = time.monotonic() + _START

    def results(self) -> Iterator[Any]:
        """Yield the results as the workers return them.

        Raises:
            CaeRuntimeError: no file can be worked on.
        """
        for table in self._tables:
            for file, row in zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True):
                value = pickle.loads(row)  # noqa: S301 - made by our own workers
                if file == WHOLE_CALL:
                    raise value
                self._given.add(file)
                yield value
        self._tell_deaths()

    def _tell(self) -> None:
        """Log what the user should know of the workers, which Ray does not say."""
        self._tell_deaths()
        if time.monotonic() > self._patient_until:
            self._patient_until = float("inf")  # said once
            if not self._ray.get(self._ledger.has_worker.remote()):
                _log.warning(_NO_WORKER)

    def _tell_deaths(self) -> None:
        """Log which workers have died since this was called before."""
        for death in self._ray.get(self._ledger.deaths.remote()):
            _log.warning("warning: %s", told(death, [str(self._jobs[file].source) for file in death.files]))

    def end(self) -> Iterator[FileResult]:
        """Let the workers finish what they are writing; yield the remaining results."""
        ray, ledger = self._ray, self._ledger
        ray.get(ledger.stop.remote())
        until = time.monotonic() + _ENDING
        while ray.get(ledger.busy.remote()) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)
        for file, row in sorted(ray.get(ledger.rows.remote()).items()):
            if file not in self._given:
                yield pickle.loads(row)  # noqa: S301 - as above

    def close(self) -> None:
        """Release the workers; busy ones end soon."""
        self._ledger.stop.remote()
        self._tables.close()


def told(death: Death, sources: Sequence[str]) -> str:
    """Return in a sentence what a death costs.

    Args:
        death: the worker's.
        sources: its files.
    """
    who = f"node {death.node[:8]} has died with its worker" if death.with_node else "a worker has died"
    if death.tries:
        return f"{who} during {sources[0]!r} (try {death.tries} of {TRIES})"
    more = f" and {counted(len(sources) - 1, 'further file')}" if len(sources) > 1 else ""
    return f"{who} during {sources[0]!r}{more}: its files are done again, one by one"


def _on_this_node(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@contextlib.contextmanager
def _marker(folder: Place) -> Iterator[list[Path]]:
    """Yield a hidden file in a local output folder, by which nodes can check that they see the same folder."""
    if isinstance(folder, Address):
        yield []
        return
    marker = temporary_beside(folder / "probe")
    try:
        marker.touch(exist_ok=False)
        yield [marker]
    finally:
        discard(marker)


def _what_stopped(error: Exception) -> str:
    """Return in one line why Ray stopped the work."""
    told = str(error)
    if "ModuleNotFoundError" in told and "cae_runtime" in told:
        return "a node has no cae-toolkit installed: install the same version on all nodes"
    last = next((line for line in reversed(told.splitlines()) if line.strip()), type(error).__name__)
    return f"the cluster stopped the work: {' '.join(last.split())}"
