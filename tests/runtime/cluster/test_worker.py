"""A worker and its blocks, without a cluster. A few functions stand in for Ray."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.cluster.conftest import NODE, Handle
from tests.runtime.conftest import FIXTURES

from cae_runtime import CaeRuntimeError, ClusterError, FileResult, ProviderError
from cae_runtime.jobs.cluster import engine
from cae_runtime.jobs.cluster import worker as module
from cae_runtime.jobs.cluster.blocks import Numbered, blocks_of
from cae_runtime.jobs.cluster.cleaning import Cleaning
from cae_runtime.jobs.cluster.connection import Workers
from cae_runtime.jobs.cluster.ledger import TRIES, Ledger, Opened
from cae_runtime.jobs.cluster.worker import WHOLE_CALL, Setup, Worker, installed_version, packed
from cae_runtime.jobs.planning import Plan, make_plan
from cae_runtime.jobs.restore import images
from cae_runtime.jobs.restore.options import RestoreOptions

Rows = dict[int, bytes]
pytestmark = pytest.mark.usefixtures("fake_ray")


@pytest.fixture
def plan(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Plan:
    (tmp_path / "in").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), noise((20, 30, 3)))
    return make_plan([tmp_path / "in"], tmp_path / "out")


@pytest.fixture
def setup(plan: Plan, tmp_path: Path) -> Setup:
    model = (FIXTURES / "blur.onnx").read_bytes()
    work = Cleaning(RestoreOptions(), plan)
    return Setup(model, "blur", "cpu", 1, work, tmp_path, (tmp_path / "in",), installed_version())


def block_of(plan: Plan) -> list[Numbered]:
    return [each for block in blocks_of(plan.jobs, 1) for each in block]


def cleaned(setup: Setup, ledger: Ledger, plan: Plan) -> Rows:
    return Worker(Handle(ledger, setup))._block(0, block_of(plan))


def results(rows: Rows) -> list[FileResult]:
    return [pickle.loads(row) for _, row in sorted(rows.items())]  # noqa: S301 - made here


def test_results_name_their_node(setup: Setup, plan: Plan) -> None:
    ledger = Ledger(lambda _: True)
    rows = cleaned(setup, ledger, plan)
    assert ledger.rows() == rows
    assert not ledger.busy()
    assert [(each.status, each.node) for each in results(rows)] == [("done", "10.0.0.3 (01234567)")] * 3


def test_a_repeated_block_cleans_again_only_unknown_files(setup: Setup, plan: Plan) -> None:
    ledger = Ledger(lambda _: True)
    first = cleaned(setup, ledger, plan)
    ledger = Ledger(lambda _: True)
    ledger.open(0, NODE, [0, 1, 2])
    ledger.done(1, first[1])  # then the worker died, and its other outputs are there
    again = cleaned(setup, ledger, plan)
    assert again[1] == first[1]
    assert [each.status for each in results(again)] == ["done"] * 3


def test_a_file_that_crashed_its_workers_is_left_out(setup: Setup, plan: Plan) -> None:
    ledger = Ledger(lambda _: True)
    for _ in range(TRIES):
        ledger.open(0, NODE, [0, 1, 2])
        ledger.begin(1, NODE)
    found = results(cleaned(setup, ledger, plan))
    assert [each.status for each in found] == ["done", "failed", "done"]
    assert found[1].reason == "crashed its worker 3 times, perhaps for lack of memory: it was left out"
    assert not Path(found[1].output).exists()


@pytest.mark.parametrize("step", ["read_file", "decode", "write_file"])
def test_a_file_at_which_the_program_fails_is_listed_and_the_rest_go_on(
    setup: Setup, plan: Plan, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    right = getattr(images, step)
    second = plan.jobs[1]

    def wrong(of: Any, *more: Any) -> Any:
        if of in (second.source, second.output, second.source.read_bytes()):
            raise IndexError("list index\nout of range")
        return right(of, *more)

    monkeypatch.setattr(images, step, wrong)
    ledger = Ledger(lambda _: True)
    found = results(cleaned(setup, ledger, plan))
    reason = "an unexpected error in the program: IndexError: list index out of range"
    assert [(each.status, each.reason) for each in found] == [("done", ""), ("failed", reason), ("done", "")]
    assert sorted(path.name for path in plan.folder.iterdir()) == ["a.png", "c.png"]
    assert not ledger.busy()
    assert not ledger.deaths()


def test_a_stopped_worker_leaves_the_remaining_blocks(
    setup: Setup, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.0)

    class Stops(Ledger):
        def open(self, number: int, node: str, files: Iterable[int]) -> Opened:
            opened = super().open(number, node, files)
            self.stop()
            return opened

    ledger = Stops(lambda _: True)
    rows = cleaned(setup, ledger, plan)
    assert not ledger.busy()
    assert len(rows) < 3
    written = [path.name for path in plan.folder.iterdir()] if plan.folder.exists() else []
    assert [Path(each.output).name for each in results(ledger.rows())] == sorted(written)


def test_a_worker_stopped_within_a_block_cleans_at_most_a_few_more_files(
    setup: Setup, tmp_path: Path, noise: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.0)
    (tmp_path / "many").mkdir()
    for number in range(16):
        cv2.imwrite(str(tmp_path / "many" / f"{number:02}.png"), noise((20, 30, 3)))
    plan = make_plan([tmp_path / "many"], tmp_path / "few")

    class Stops(Ledger):
        def done(self, file: int, row: bytes) -> None:
            super().done(file, row)
            self.stop()

    ledger = Stops(lambda _: True)
    rows = cleaned(setup, ledger, plan)
    assert 1 <= len(rows) <= 6
    assert not ledger.busy()
    assert [Path(each.output) for each in results(rows)] == sorted(plan.folder.iterdir())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"version": "0.0"},
            ClusterError,
            r"node 10.0.0.3 \(01234567\) has cae-toolkit .*, but the command is of version 0.0",
        ),
        ({"seen": (Path("/not/there"),)}, ClusterError, "does not see '/not/there': all nodes must see the files"),
        ({"provider": "coreml"}, ProviderError, "CoreML"),
    ],
)
def test_an_error_that_ends_the_whole_call_is_returned_as_a_row(
    setup: Setup, plan: Plan, change: dict[str, Any], kind: type[CaeRuntimeError], message: str
) -> None:
    rows = cleaned(replace(setup, **change), Ledger(lambda _: True), plan)
    error = pickle.loads(rows[WHOLE_CALL])  # noqa: S301 - as above
    with pytest.raises(kind, match=message):
        raise error


class Unknown(Cleaning):
    """Work that the version of the node does not have."""


def test_settings_of_another_version_are_refused(setup: Setup, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(replace(setup, version="0.0", work=Unknown(RestoreOptions(), plan)))
    monkeypatch.delattr(sys.modules[__name__], "Unknown")
    handle = Handle(Ledger(lambda _: True), setup)
    handle.setup.remote = lambda: content
    rows = Worker(handle)._block(0, block_of(plan))
    with pytest.raises(ClusterError, match=r"has cae-toolkit .*, but the command is of version 0\.0"):
        raise pickle.loads(rows[WHOLE_CALL])  # noqa: S301 - as above


def test_a_block_given_up_between_files_keeps_its_known_results(setup: Setup, plan: Plan) -> None:
    ledger = Ledger(lambda _: True)
    ledger.open(0, NODE, [0, 1, 2])
    ledger.done(1, pickle.dumps(FileResult("b", "out", "done", "", 0.0, None, None, "cpu", ())))
    for _ in range(TRIES):
        ledger.open(0, NODE, [0, 1, 2])
    found = results(cleaned(setup, ledger, plan))
    assert [(each.status, each.reason[:7]) for each in found] == [
        ("failed", "crashed"),
        ("done", ""),
        ("failed", "crashed"),
    ]


@pytest.mark.parametrize("works", [False, True])
def test_waiting_for_other_work_on_the_cluster_is_reported_once(
    setup: Setup, works: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(lambda _: True)
    if works:
        ledger.setup()
    monkeypatch.setattr(engine, "Tables", lambda *_: None)
    monkeypatch.setattr(engine, "_on_this_node", lambda _: None)
    monkeypatch.setattr(engine, "_START", 0.0)
    ray = SimpleNamespace(
        get=lambda value: value, remote=lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=actor))
    )

    def actor(*_: object) -> Handle:
        return Handle(ledger, setup)

    running = engine._Running(ray, (), setup, Workers(1, 1, 0, 1))
    for _ in range(2):
        running._tell()
    told = [record.getMessage() for record in caplog.records]
    assert [line[:40] for line in told] == ([] if works else ["warning: no worker has started in 60 sec"])
