"""Options that do not suit a cluster are refused before Ray is imported."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import Command

from cae_runtime import MissingExtraError, RayCluster, UsageError, clean_folder
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.places.address import Address, place_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dask"], "--engine is 'dask': it must be local or ray"),
        (["--address", "auto"], "--address needs a cluster: add --engine ray"),
        (["--address", "auto", "--gpus-per-worker", "1"], "--address, --gpus-per-worker need a cluster"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker needs a cluster: add --engine ray"),
        (["--engine", "ray", "--gpus-per-worker", "-1"], "--gpus-per-worker is -1.0: it must be 0 or more"),
        (["--engine", "ray", "--watch"], "--watch works only on this machine: remove --engine"),
        (["--engine", "ray", "--view"], "--view takes no --engine"),
        (["--engine", "ray", "--provider", "gpu"], "provider 'gpu'"),
        (["--engine", "ray", "--address", "head"], "--address is 'head': it must be HOST:PORT, or 'auto'"),
        (["--engine", "ray", "--address", "ray://head:10001"], "--address is 'ray://head:10001': connections through"),
    ],
)
def test_options_that_do_not_suit_a_cluster_are_refused_in_a_sentence(
    cae_run: Command, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    if "--address is" in message:
        pytest.importorskip("ray", reason="the extra ray is not installed")
    done = cae_run(tmp_path / "in", "-o", tmp_path / "out", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1


def test_an_address_without_a_cluster_is_reported_at_once(cae_run: Command, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        done = cae_run(tmp_path, "-o", tmp_path / "out", "--engine", "ray", "--address", address)
    assert done.returncode == 3
    assert done.stderr.decode().startswith(f"cae-run: no Ray cluster answers at '{address}': ")


def test_a_cluster_that_requires_a_token_is_reported(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")

    def refused(**_: object) -> None:
        raise ConnectionError("Failed to connect") from RuntimeError("ray.exceptions.AuthenticationError: missing")

    monkeypatch.setattr(ray, "init", refused)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        done = cae_run(tmp_path, "-o", tmp_path / "out", "--engine", "ray", "--address", address)
    assert done.returncode == 3
    assert b"it requires a token: set RAY_AUTH_MODE=token" in done.stderr


def test_pipes_and_cameras_refuse_an_engine(cae_run: Command) -> None:
    assert b"- cannot be combined with --engine" in cae_run("-", "-o", "-", "--engine", "ray").stderr
    assert b"--webcam takes no --engine" in cae_run("--webcam", "--engine", "ray", model=None).stderr


def test_a_missing_extra_is_reported_with_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(MissingExtraError, match=r"pip install 'cae-toolkit\[ray\]'"):
        clean_folder(tmp_path / "in", tmp_path / "out", RayCluster())


def test_addresses_in_process_memory_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="the extra cloud is not installed")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="'memory://out' is in the memory of this process"):
        clean_folder(tmp_path / "in", "memory://out", RayCluster())


@pytest.mark.parametrize(
    ("folder", "shown"),
    [("s3://KEY:SECRET@bucket/out", "s3://***@bucket/out"), (None, "http://127.0.0.1:9/a.png?sign=***")],
)
def test_addresses_with_passwords_are_refused_because_ray_records_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None, shown: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = Address("http", "127.0.0.1:9", "a.png", query="sign=SECRET") if folder is None else tmp_path / "a.png"
    plan = Plan((Job(source, tmp_path / "out.png"),), (), tmp_path if folder is None else place_of(folder))
    cluster = RayCluster()
    with pytest.raises(UsageError, match="records command lines, so addresses with passwords") as caught:
        next(cluster.clean(plan, cluster.opened(), RestoreOptions(), lambda _: None))
    assert str(caught.value).startswith(f"{shown!r}: ")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads is 0: it must be 1..4096"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker is -1.0: it must be 0 or more"),
        ({"address": ""}, "address is '': it must be HOST:PORT"),
        ({"provider": "gpu"}, "provider 'gpu'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RayCluster(**arguments)
