"""The interface of engines: what cleans files in the place of this process, such as a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator

from cae_runtime.jobs.planning import Plan
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import FileResult
from cae_runtime.tasks.restore import Restorer


class Engine(ABC):
    """Base of what cleans the files of a plan elsewhere, such as `cae_runtime.RayCluster`."""

    @abstractmethod
    def opened(self) -> Restorer:
        """Return the model, opened in this process to learn what it does.

        Raises:
            CaeRuntimeError: see `Restorer`.
        """

    @abstractmethod
    def clean(
        self, plan: Plan, restorer: Restorer, options: RestoreOptions, on_result: Callable[[FileResult], None]
    ) -> Generator[FileResult, None, None]:
        """Yield the result of each file as it is ready; after KeyboardInterrupt, hand the others to `on_result`.

        Args:
            plan: the files.
            restorer: the model, as it was opened in this process.
            options: how.
            on_result: called with results that are known and cannot be yielded.

        Raises:
            CaeRuntimeError: the work cannot be done.
        """
