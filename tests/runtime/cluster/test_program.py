"""A program keeps its own settings after it used a cluster. A few functions stand in for Ray."""

from __future__ import annotations

import logging
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cae_runtime.jobs.cluster.connection import Workers, connected
from cae_runtime.jobs.cluster.tables import Tables


class Data(SimpleNamespace):
    """Ray's data library, with its settings; it keeps those that a data set was run with."""

    def __init__(self) -> None:
        context = SimpleNamespace(enable_progress_bars=True, execution_no_progress_timeout_s=60)
        super().__init__(
            DataContext=SimpleNamespace(get_current=lambda: context), ActorPoolStrategy=dict, context=context
        )

    def from_items(self, items: list[Any], **_: object) -> Any:
        return SimpleNamespace(map_batches=lambda *_, **__: SimpleNamespace(iter_batches=self._tables))

    def _tables(self, **_: object) -> list[str]:
        return [f"{self.context.enable_progress_bars} {self.context.execution_no_progress_timeout_s}"]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = SimpleNamespace(is_initialized=lambda: True, data=Data())
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setitem(sys.modules, "ray.data", found.data)
    return found


def test_environment_and_loggers_of_the_program_are_restored(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    logger = logging.getLogger("ray.data")
    before = dict(os.environ)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with connected(None) as found:
            assert found is ray
            assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_DEDUP_LOGS"]) == ("0", "1")
            assert logger.level == logging.CRITICAL
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(level)
    assert dict(os.environ) == before


def test_ray_data_settings_of_the_program_are_restored(ray: Any) -> None:
    before = vars(ray.data.context).copy()
    tables = Tables(ray, [[]], None, Workers(1, 1, 0, 1), lambda: None)
    assert list(tables) == ["False -1"]
    tables.close()
    assert vars(ray.data.context) == before
