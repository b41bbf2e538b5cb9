"""Ray, played by a few functions, and workers of a cluster that are called in the test's own process."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cae_runtime import ClusterError
from cae_runtime.inference.session import Session
from cae_runtime.jobs.cluster.ledger import Ledger
from cae_runtime.jobs.cluster.work import Work
from cae_runtime.jobs.cluster.worker import WHOLE_CALL, Setup, Worker, installed_version, packed
from cae_runtime.jobs.planning import Job
from cae_runtime.places.address import Place

NODE = "0123456789abcdef"


class Handle:
    """An actor's handle: `handle.method.remote(...)` calls the method."""

    def __init__(self, actor: Any, setup: Setup) -> None:
        self._actor, self.setup = actor, SimpleNamespace(remote=lambda: packed(setup))

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._actor, name))


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_node_id=lambda: NODE)
    ray = SimpleNamespace(
        get_runtime_context=lambda: context, util=SimpleNamespace(get_node_ip_address=lambda: "10.0.0.3"),
        get=lambda value: value, wait=lambda values, timeout: (values, []),
        exceptions=SimpleNamespace(RayError=ConnectionError),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", ray)


class Here:
    """Takes the place of a `RayCluster`.

    Attributes:
        most: after so many blocks Ctrl-C is pressed.
        away: whether it does not answer.
    """

    most = 1000
    away = False

    def run(
        self, jobs: Sequence[Job], work: Work, session: Session, folder: Place,
        on_start: Callable[[], None] = lambda: None,
    ) -> Iterator[Any]:  # fmt: skip
        if self.away:
            raise ClusterError("no Ray cluster answers")
        on_start()
        setup = Setup(session.path.read_bytes(), session.name, "cpu", 1, work, Path.cwd(), (), installed_version())
        worker = Worker(Handle(Ledger(lambda _: True), setup))
        for number, block in enumerate(work.blocks(jobs, 1)):
            if number == self.most:
                raise KeyboardInterrupt
            for file, row in worker._block(number, block).items():
                value = pickle.loads(row)  # noqa: S301 - made here
                if file == WHOLE_CALL:
                    raise value
                yield value


@pytest.fixture
def here(fake_ray: None) -> Here:
    return Here()
