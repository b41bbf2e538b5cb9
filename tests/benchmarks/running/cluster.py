"""Folders cleaned by the workers of a Ray cluster on this machine, compared with a local call.

python -m tests.benchmarks.running.cluster killed   [--files 5000]
python -m tests.benchmarks.running.cluster overhead [--files 1000] [--pixels 0.3]
python -m tests.benchmarks.running.cluster start    [--files 4]
python -m tests.benchmarks.running.cluster growth   [--files 1000 --files 5000 --files 20000]

Seconds of CPU are those of this process and of all that it has started. Other work on the machine changes them less
than the wall's, but they grow with it, since Ray's processes take some CPU for each second that they wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.benchmarks.running.folder import jpeg, picture

from cae_runtime import FileResult, RayCluster, clean_folder
from cae_runtime.inference.cpu_limits import usable_cpus
from cae_runtime.jobs.cluster.connection import imported

MODEL = "denoise-fast"
STORE = 80 * 2**20
TICKS = os.sysconf("SC_CLK_TCK")
SMALL = (64, 48)
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


class Costs:
    """Seconds of the wall and of the CPU that a block takes.

    Attributes:
        wall: seconds.
        cpu: seconds of this process and its descendants, also of those that have ended meanwhile.
        names: of the processes, by their numbers.

    Args:
        every: seconds between two looks at the processes.
    """

    wall = cpu = 0.0

    def __init__(self, every: float = 2.0) -> None:
        self._every = every
        self.names: dict[int, str] = {}
        self._seen: dict[int, float] = {}
        self._own = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Costs:
        self._begin, self._before = time.perf_counter(), sum(descendants().values())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self.wall = time.perf_counter() - self._begin
        self._ended.set()
        self._thread.join()
        self.cpu = sum(self._seen.values()) - self._before - self._own

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            self._look()
        self._own = time.thread_time()

    def _look(self) -> None:
        self._seen |= descendants()
        self.names |= {number: _name(number) or self.names.get(number, "") for number in self._seen}

    def by_name(self) -> dict[str, float]:
        """Seconds of CPU of all processes of a name, the largest first."""
        found: dict[str, float] = {}
        for number, seconds in self._seen.items():
            found[self.names[number]] = found.get(self.names[number], 0.0) + seconds
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, {self.cpu:.1f} s of CPU"


def descendants() -> dict[int, float]:
    """Seconds of CPU of this process and all its descendants, by their numbers."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            number = int(stat.parent.name)
            parents[number], used[number] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    return {number: seconds for number, seconds in used.items() if os.getpid() in _line(number, parents)}


def _name(number: int) -> str:
    """What a process is called: `ray::_StatsActor`, `log_monitor.py`; empty if it has ended."""
    try:
        words = Path(f"/proc/{number}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    if words[0].startswith("ray::"):
        return words[0].strip().split(".")[0]
    return (
        "the command"
        if number == os.getpid()
        else next((Path(word).name for word in words if "/ray/" in word), words[0])
    )


def _line(number: int, parents: dict[int, int]) -> Iterator[int]:
    while number:
        yield number
        number = parents.get(number, 0)


def make_files(folder: Path, files: int, size: tuple[int, int]) -> Path:
    """Write pictures of a size that differ a little, as JPEG."""
    folder.mkdir()
    image = picture(*size)
    for number in range(files):
        image[0, 0] = (number % 256, number // 256, 0)
        (folder / f"{number:05}.jpg").write_bytes(jpeg(image))
    return folder


def rows(results: list[FileResult], out: Path) -> list[dict[str, Any]]:
    """What a report says of files, without what differs between any two calls."""
    found = [asdict(result) | {"seconds": 0, "node": ""} for result in results]
    return [row | {"output": str(Path(row["output"]).relative_to(out))} for row in found]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without those that a killed process has left half-written under hidden names."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@app.command()
def killed(files: Annotated[int, typer.Option()] = 5000) -> None:
    """Kill one of two nodes half-way: the report and all bytes must be those of a local call."""
    ray = imported()
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_files(folder / "photos", files, SMALL)
        expected = clean_folder(photos, folder / "local", MODEL)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
        ray.init(cluster.address, log_to_driver=False, logging_level="CRITICAL")
        seen = 0

        def on_result(_: FileResult) -> None:
            nonlocal seen
            seen += 1
            if seen == files // 2:
                os.kill(nodes[1].all_processes["raylet"][0].process.pid, signal.SIGKILL)

        with Costs() as costs:
            found = clean_folder(photos, folder / "remote", RayCluster(MODEL), on_result=on_result)
        ray.shutdown()
        cluster.shutdown()
        share = len({result.node for result in found})
        same = contents(folder / "local") == contents(folder / "remote")
        report = rows(found, folder / "remote") == rows(expected, folder / "local")
    print(f"{files} files, {share} nodes, one killed at {files // 2}: {costs}; report equal: {report}, bytes: {same}")


@app.command()
def overhead(
    files: Annotated[int, typer.Option()] = 1000, pixels: Annotated[float, typer.Option(help="Millions.")] = 0.3
) -> None:
    """Time of a local call, of one that starts a cluster of as many CPUs, and of one in a cluster that runs already."""
    size = (round((pixels * 1e6 * 4 / 3) ** 0.5), round((pixels * 1e6 * 3 / 4) ** 0.5))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_files(folder / "photos", files, size)
        local = _measured(lambda: clean_folder(photos, folder / "local", MODEL))
        print(f"{files} files of {size[0]}x{size[1]}, {usable_cpus()} CPUs: local {local}", flush=True)
        started = _measured(lambda: clean_folder(photos, folder / "started", RayCluster(MODEL)))
        _compare("started by the call", local, started, folder)
        with _running():
            clean_folder(make_files(folder / "first", 4, SMALL), folder / "out", RayCluster(MODEL))
            runs = _measured(lambda: clean_folder(photos, folder / "runs", RayCluster(MODEL)))
        _compare("runs already", local, runs, folder)


def _compare(what: str, local: Costs, remote: Costs, folder: Path) -> None:
    wall, cpu = remote.wall / local.wall - 1, remote.cpu / local.cpu - 1
    same = contents(folder / "local") == contents(folder / what.split()[0])
    print(f"a cluster that {what}: {remote}: {wall:+.0%}, {cpu:+.1%} of CPU; bytes equal: {same}", flush=True)


@contextlib.contextmanager
def _running() -> Iterator[None]:
    """A block with a cluster of this machine, to which this program is connected."""
    ray = imported()
    options = {"num_cpus": usable_cpus(), "include_dashboard": False, "object_store_memory": STORE}
    ray.init(address="local", log_to_driver=False, logging_level="CRITICAL", **options)
    try:
        yield
    finally:
        ray.shutdown()


@app.command()
def start(files: Annotated[int, typer.Option()] = 4) -> None:
    """What each process of a call that starts a cluster takes; the few pictures take almost nothing of it."""
    with tempfile.TemporaryDirectory() as name:
        photos = make_files(Path(name) / "photos", files, SMALL)
        with Costs(every=0.5) as costs:
            clean_folder(photos, Path(name) / "out", RayCluster(MODEL))
    print(f"{costs}\n\n| process | s of CPU |\n| --- | ---: |")
    for process, seconds in costs.by_name().items():
        print(f"| {process} | {seconds:.1f} |")


@app.command()
def growth(files: Annotated[list[int] | None, typer.Option()] = None) -> None:
    """What a small picture costs in calls of more and more pictures, the start of the cluster left out."""
    with _running(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean_folder(make_files(folder / "first", 50, SMALL), folder / "out", RayCluster(MODEL))
        print("| files | seconds | ms a file | CPU ms a file |\n| ---: | ---: | ---: | ---: |")
        for number, count in enumerate(files or [1000, 5000, 20_000]):
            photos = make_files(folder / f"photos{number}", count, SMALL)
            costs = _measured(lambda photos=photos: clean_folder(photos, photos.with_suffix(".out"), RayCluster(MODEL)))
            print(
                f"| {count:,} | {costs.wall:.1f} | {1e3 * costs.wall / count:.1f} | {1e3 * costs.cpu / count:.1f} |",
                flush=True,
            )


def _measured(call: Callable[[], object]) -> Costs:
    with Costs() as costs:
        call()
    return costs


if __name__ == "__main__":
    app()
