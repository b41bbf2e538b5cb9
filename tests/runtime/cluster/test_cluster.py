"""A cluster of two nodes on this machine gives the same report and bytes as a local call, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import FileResult, RayCluster, clean_folder
from cae_runtime.jobs.progress import Progress

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow

MODEL = FIXTURES / "blur.onnx"
PICTURES = 24
DEADLY = "deadly.png"
STORE = 80 * 2**20


def _deadly() -> Callable[[], None]:
    """Return what every process of the workers runs at its start: opening one of the pictures ends it."""

    def prepare() -> None:
        def ends(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and str(arguments[0]).endswith("deadly.png"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(ends)

    return prepare


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """An S3 server; yields the environment by which it is found."""
    moto = pytest.importorskip("moto.server", reason="an S3 server is not installed").ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    moto.start()
    host, port = moto.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    moto.stop()


@pytest.fixture
def store(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system of the S3 server, with two empty buckets."""
    from s3fs import S3FileSystem

    for name, value in server.items():
        monkeypatch.setenv(name, value)
    system = S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    for bucket in ("incoming", "cleaned"):
        system.mkdir(bucket)
    return system


@pytest.fixture(scope="module")
def nodes(server: dict[str, str]) -> Iterator[list[Any]]:
    """Two nodes of one CPU each, of which the first is the head; the test's process is connected."""
    from cae_runtime.jobs.cluster.connection import imported

    imported()  # before Ray is: it sets what keeps Ray quiet
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        environment = {"worker_process_setup_hook": _deadly(), "env_vars": server}
        ray.init(cluster.address, runtime_env=environment, log_to_driver=False, logging_level="CRITICAL")
        yield [cluster.head_node, second]
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small pictures, one that is damaged, one that ends its worker, and a video."""
    from tests.runtime.clips import make_clip

    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for number in range(PICTURES):
        picture = random.integers(0, 256, (30 + number, 40, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    (folder / "damaged.png").write_bytes((folder / "00.png").read_bytes()[:500])
    (folder / DEADLY).write_bytes((folder / "01.png").read_bytes())
    make_clip(folder / "clip.mp4", frames=4)
    return folder


def alike(result: FileResult, out: Path) -> FileResult:
    """Return a result without what may differ between two calls."""
    return replace(result, output=str(Path(result.output).relative_to(out)), seconds=0.0, node="")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_file_is_lost_if_a_node_or_worker_dies(
    nodes: list[Any], photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    expected = clean_folder(photos, local, MODEL)
    seen: list[FileResult] = []

    def on_result(result: FileResult) -> None:
        seen.append(result)
        if len(seen) == PICTURES // 3:
            os.kill(nodes[1].all_processes["raylet"][0].process.pid, signal.SIGKILL)

    found = clean_folder(photos, remote, RayCluster(MODEL), on_result=on_result)
    (dead,) = (result for result in found if result.source.endswith(DEADLY))
    assert dead.status == "failed"
    assert dead.reason.startswith("crashed its worker 3 times")
    assert [alike(each, remote) for each in found if each is not dead] == [
        alike(each, local) for each in expected if not each.source.endswith(DEADLY)
    ]
    assert sorted(result.source for result in seen) == sorted(result.source for result in expected)
    assert all(result.node for result in found)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum(f"a worker has died during {dead.source!r} (try" in line for line in told) == 2
    without = {name: data for name, data in files_in(local).items() if name != DEADLY}
    written = files_in(remote)
    assert {name: data for name, data in written.items() if not name.endswith(".partial")} == without


def test_ctrl_c_keeps_finished_files_and_the_next_call_does_the_rest(
    nodes: list[Any], cae_run: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    sources = sorted(photos.glob("[01]*.png"))
    clean_folder(photos, whole, MODEL)
    counted: list[None] = []

    def interrupted(_: Progress) -> None:
        counted.append(None)
        if len(counted) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_file", interrupted)
        first = cae_run(*sources, "-o", out, "--engine", "ray", "--json", model="blur")
    assert first.returncode == 130
    report = json.loads(first.stdout)
    done = {Path(each["output"]).name for each in report["files"] if each["status"] == "done"}
    assert len(done) >= 5
    assert report["totals"]["not_reached"] == len(sources) - len(done)
    assert files_in(out) == {name: data for name, data in files_in(whole).items() if name in done}

    second = cae_run(*sources, "-o", out, "--engine", "ray", "--json", model="blur")
    assert second.returncode == 0
    report = json.loads(second.stdout)
    assert (report["totals"]["skipped"], report["totals"]["done"]) == (len(done), len(sources) - len(done))
    assert [each["source"] for each in report["files"]] == [str(source) for source in sources]
    assert files_in(out) == {source.name: files_in(whole)[source.name] for source in sources}


def test_workers_can_read_from_and_write_to_a_store(
    nodes: list[Any], cae_run: Command, store: Any, photos: Path, tmp_path: Path
) -> None:
    names = ("00.png", "01.png", "damaged.png")
    for name in names:
        store.pipe_file(f"incoming/{name}", (photos / name).read_bytes())
    local = cae_run(*(photos / name for name in names), "-o", tmp_path, model="blur")
    done = cae_run("s3://incoming", "-o", "s3://cleaned", "--engine", "ray", "--json", model="blur")
    assert (local.returncode, done.returncode) == (1, 1)
    report = json.loads(done.stdout)
    assert [each["status"] for each in report["files"]] == ["done", "done", "failed"]
    assert {Path(name).name: store.cat_file(name) for name in store.find("cleaned")} == files_in(tmp_path)


def test_features_and_anomalies_equal_those_of_a_local_call(
    nodes: list[Any], cae_run: Command, photos: Path, tmp_path: Path
) -> None:
    sources = [*sorted(photos.glob("0*.png")), photos / "damaged.png"]
    local = cae_run(*sources, "-o", tmp_path / "local.npz", model="encode")
    done = cae_run(*sources, "-o", tmp_path / "features", "--engine", "ray", "--json", model="encode")
    assert (local.returncode, done.returncode) == (1, 1), done.stderr.decode()
    (part,) = json.loads(done.stdout)["parts"]
    assert (part["file"], part["images"], part["status"]) == ("part-00000.npz", 10, "done")
    assert part["node"]
    assert files_in(tmp_path / "features")["part-00000.npz"] == (tmp_path / "local.npz").read_bytes()
    local = cae_run(*sources, "-o", tmp_path / "local", model="anomaly")
    done = cae_run(*sources, "-o", tmp_path / "heat", "--engine", "ray", model="anomaly")
    assert (local.returncode, done.returncode) == (1, 1), done.stderr.decode()
    assert files_in(tmp_path / "heat") == files_in(tmp_path / "local")
