"""The state of files whose workers die, blocks of files, and the number of workers; without a cluster."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from cae_runtime import ClusterError
from cae_runtime.jobs.cluster.access_token import token_without_home
from cae_runtime.jobs.cluster.blocks import FILES_MOST, blocks_of
from cae_runtime.jobs.cluster.connection import Workers, _place_for_files, node_has_died, workers_of
from cae_runtime.jobs.cluster.engine import told
from cae_runtime.jobs.cluster.ledger import TRIES, Death, Ledger, Opened
from cae_runtime.jobs.planning import Job


def ledger_of(*dead: str) -> Ledger:
    return Ledger(lambda node: node not in dead)


def test_a_repeated_block_gets_its_known_results_back() -> None:
    ledger = ledger_of()
    assert ledger.open(0, "a", [0, 1, 2]) == Opened()
    ledger.done(1, b"row")
    assert ledger.open(0, "b", [0, 1, 2]) == Opened(again=True, rows={1: b"row"})


def test_a_file_that_crashes_three_workers_is_left_out_and_its_neighbors_are_not() -> None:
    ledger = ledger_of()
    ledger.open(0, "a", [0, 1, 2])
    tries = 1
    for _ in range(10):  # more than are needed
        rows = ledger.open(0, "a", [0, 1, 2]).rows
        for file in (0, 1, 2):
            if file in rows:
                continue
            if not ledger.begin(file, "a"):
                ledger.done(file, b"left out")
            elif file == 1:
                tries += 1
                break  # the worker dies
            else:
                ledger.done(file, b"row")
        else:
            break
    assert tries == TRIES
    assert ledger.rows() == {0: b"row", 1: b"left out", 2: b"row"}


def test_a_file_is_not_blamed_for_workers_that_die_with_their_node() -> None:
    ledger = ledger_of("spot")
    ledger.open(0, "spot", [0])
    for _ in range(2 * TRIES):
        ledger.open(0, "spot", [0])
        assert ledger.begin(0, "spot")
    ledger.begin(0, "a")
    assert [ledger.begin(0, "a") for _ in range(TRIES)] == [True, True, False]


def test_each_death_is_reported_once_with_its_files() -> None:
    ledger = ledger_of("spot")
    for number, node in ((0, "spot"), (1, "a"), (1, "a")):
        ledger.open(number, node, [2 * number, 2 * number + 1])
    ledger.done(2, b"row")
    ledger.open(0, "a", [0, 1])
    assert ledger.deaths() == [Death("a", (2, 3)), Death("spot", (0, 1), with_node=True)]
    for _ in range(2):
        ledger.begin(3, "a")
    (death,) = ledger.deaths()
    assert told(death, ["d.png"]) == "a worker has died during 'd.png' (try 2 of 3)"
    assert ledger.deaths() == []


def test_workers_may_die_three_times_between_files() -> None:
    ledger = ledger_of("spot")
    ledger.open(0, "a", [0, 1])
    for file in (0, 1):
        ledger.done(file, b"row")
    nodes = ["spot", *"a" * TRIES, "a"]  # the first one that dies is the one that had the files together
    assert [ledger.open(0, node, [0, 1]).hopeless for node in nodes] == [*[False] * (TRIES + 1), True]
    assert ledger.deaths() == [Death("a", (0, 1))] * TRIES
    ledger.close(0)
    ledger.open(1, "a", [2])
    ledger.done(2, b"row")
    ledger.close(1)
    for _ in range(2 * TRIES):
        assert not ledger.open(1, "a", [2]).hopeless, "the table is asked for again, and no worker has died"
        ledger.close(1)


def test_workers_count_as_busy_until_they_leave_their_block() -> None:
    ledger = ledger_of()
    ledger.open(0, "a", [0])
    ledger.open(1, "a", [1])
    ledger.stop()
    assert ledger.stopped()
    assert ledger.open(2, "a", [2]).stopped
    ledger.close(0)
    assert ledger.busy()
    ledger.close(1)
    assert not ledger.busy()


def jobs_of(folder: Path, *names: str, size: int = 10) -> list[Job]:
    for name in names:
        (folder / name).write_bytes(bytes(size))
    return [Job(folder / name, folder / "out" / name) for name in names]


def numbers(blocks: list[list[tuple[int, Job]]]) -> list[list[int]]:
    return [[number for number, _ in block] for block in blocks]


def test_videos_come_first_in_blocks_of_their_own(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, "a.png", "b.mp4", "c.png", "d.mkv")
    assert numbers(blocks_of(jobs, 1)) == [[1], [3], [0], [2]]
    assert numbers(blocks_of([], 1)) == []


def test_blocks_are_small_and_every_worker_gets_some(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, *(f"{number:03}.png" for number in range(200)))
    for workers, most in ((1, FILES_MOST), (10, 5), (1000, 1)):
        blocks = numbers(blocks_of(jobs, workers))
        assert max(map(len, blocks)) == most
        assert [number for block in blocks for number in block] == list(range(200))


def test_large_files_make_small_blocks(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, *(f"{number}.png" for number in range(8)), size=3 * 2**20)
    jobs.append(Job(tmp_path / "missing.png", tmp_path / "out.png"))
    assert numbers(blocks_of(jobs, 1)) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]


def nodes(*sizes: tuple[float, float]) -> SimpleNamespace:
    found = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in sizes]
    return SimpleNamespace(nodes=lambda: [*found, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])


@pytest.mark.parametrize(
    ("sizes", "files", "threads", "gpus", "workers"),
    [
        ([(2, 0), (4, 0)], 1000, None, 0, Workers(6, 1, 0, 2)),
        ([(0, 0), (4, 0)], 1000, None, 0, Workers(4, 1, 0, 1)),  # the head has none to give
        ([(8, 0), (8, 0)], 4, None, 0, Workers(4, 4, 0, 2)),  # few files get more threads
        ([(8, 0), (4, 0)], 1, None, 0, Workers(3, 4, 0, 2)),
        ([(8, 0), (5, 0)], 1000, 4, 0, Workers(3, 4, 0, 2)),
        ([(16, 2), (8, 0)], 1000, None, 1, Workers(2, 8, 1, 1)),
        ([(16, 2)], 1000, None, 0.25, Workers(8, 2, 0.25, 1)),
        ([(4, 8)], 1000, None, 1, Workers(4, 1, 1, 1)),
    ],
)
def test_the_threads_of_all_workers_together_use_the_cpus(
    sizes: list[tuple[float, float]], files: int, threads: int | None, gpus: float, workers: Workers
) -> None:
    assert workers_of(nodes(*sizes), files, threads, gpus) == workers


@pytest.mark.parametrize(
    ("threads", "gpus", "message"),
    [
        (9, 0, "threads=9 fits on no node: the largest have 8 CPUs and 1 GPUs"),
        (None, 2, "threads=1 and gpus_per_worker=2 fits on no node"),
    ],
)
def test_workers_that_fit_on_no_node_are_refused(threads: int | None, gpus: float, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        workers_of(nodes((8, 1), (2, 0)), 10, threads, gpus)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no such sockets")
def test_a_node_that_does_not_answer_counts_as_dead() -> None:
    with tempfile.TemporaryDirectory() as short:  # names of sockets may have some 100 characters
        name = str(Path(short) / "raylet")
        worker = SimpleNamespace(_global_node=SimpleNamespace(raylet_socket_name=name))
        ray = SimpleNamespace(_private=SimpleNamespace(worker=worker))
        assert not node_has_died(ray)  # it cannot be told
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(name)
            listening.listen()
            assert not node_has_died(ray)
        assert node_has_died(ray)


@pytest.mark.skipif(sys.platform == "win32", reason="names of sockets are not limited")
@pytest.mark.parametrize("length", [4, 22, 28, 120])
def test_the_sockets_of_ray_fit_whatever_the_temporary_folder_is_called(
    length: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix=max(0, length - 13) * "x") as usual:
        monkeypatch.setattr(tempfile, "tempdir", "/tmp" if length == 4 else usual)  # noqa: S108
        with _place_for_files(None) as options:
            folder = Path(options["_temp_dir"])
            assert folder.is_dir()
            socket_of_ray = folder / "session_2026-11-30_09-32-29_342625_4194304" / "sockets" / "plasma_store"
            assert len(os.fsencode(socket_of_ray)) <= 103
        assert not folder.exists()
    told = [record.getMessage()[:38] for record in caplog.records]
    assert told == ([] if length == 4 else ["note: the name of the temporary folder"])


def test_ray_gets_an_access_token_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").touch()

    def given(home: Path) -> str | None:
        monkeypatch.setattr(Path, "home", lambda: home)
        with token_without_home():
            token = os.environ.get("RAY_AUTH_TOKEN")
        assert "RAY_AUTH_TOKEN" not in os.environ
        return token

    assert given(tmp_path) is None
    first = given(tmp_path / "file" / "home")
    assert first
    assert given(tmp_path / "file" / "home") == first, "Ray remembers the first one"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with token_without_home():
        assert "RAY_AUTH_TOKEN" not in os.environ
