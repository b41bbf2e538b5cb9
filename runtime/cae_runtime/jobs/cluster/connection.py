"""Connects to a Ray cluster, or starts one on this machine, and suppresses the messages of Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, cast

from cae_runtime.errors import ClusterError, MissingExtraError, UsageError
from cae_runtime.inference.cpu_limits import usable_cpus
from cae_runtime.io.stderr import is_own, quiet
from cae_runtime.jobs.cluster.access_token import token_without_home
from cae_shared.signals import listen_again
from cae_shared.temporary import temporary_folder
from cae_shared.text import counted

_INSTALL: Final = "pip install 'cae-toolkit[ray]' (in a checkout: pip install -e '.[ray]')"
_AUTO: Final = "auto"
_CLIENT: Final = "ray://"
_PORT_MOST: Final = 65535
_ANSWER: Final = 10.0  # seconds for the head of a cluster to answer
_LISTENER: Final = "ray_listen_error_messages"  # the thread of Ray that prints error messages
_STORE_BYTES: Final = 100 * 2**20  # only paths and results go through it
_PREFIX: Final = "cae-ray-"
_SOCKET_PATH_MOST: Final = 103  # bytes that macOS allows, four fewer than Linux
_BELOW: Final = len(f"/{_PREFIX}{16 * '0'}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHORT: Final = ("/tmp", "/var/tmp")  # noqa: S108 - a folder that only this user can read is made in it
_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends nothing
    "RAY_DEDUP_LOGS": "0",  # otherwise another thread prints them at the end
    "RAY_worker_niceness": "0",  # Ray's default, 15, would give way to all other work
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise Ray prints an advertisement of this setting
}
_OF_COMMANDS: Final = {
    "RAY_ENABLE_AUTO_CONNECT": "0"
}  # so that threads of Ray that outlive a connection do not open another
_LOGGERS: Final = ("ray", "ray.data")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """The workers that a cluster has room for.

    Attributes:
        count: the number of workers.
        cpus: CPUs of each worker.
        gpus: GPUs of each worker; with 0.5, two workers share one.
        nodes: the number of nodes that they run on.
    """

    count: int
    cpus: int
    gpus: float
    nodes: int

    def __str__(self) -> str:
        of_gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        each = f"{counted(self.cpus, 'CPU')}{of_gpus} each"
        return f"{counted(self.count, 'worker')} with {each}, on {counted(self.nodes, 'node')}"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster for the duration of a `with` block; yields the module `ray`.

    Args:
        address: `HOST:PORT` of the cluster, or `auto` for the one that this machine belongs to. None uses the
            connection of the program if there is one; otherwise it starts a cluster here, which ends with the block.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: the address is neither HOST:PORT nor `auto`; `ray://` addresses are not supported.
        ClusterError: there is no cluster at this address, or none can be started.
    """
    with _borrowed() as ray:
        if address is None and ray.is_initialized():
            with _without_words():
                yield ray
            return
        if address not in (None, _AUTO):
            _check_answers(address)
        with quiet(), _without_words(), _place_for_files(address) as options:  # quiet: of what its native part writes
            try:
                try:
                    ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
                except (ConnectionError, RuntimeError, OSError, ValueError, TimeoutError, ray.exceptions.RayError) as e:
                    raise ClusterError(_no_cluster(address, _why(e))) from e
                finally:
                    listen_again()  # Ray has put its own handler in the place of ours
                yield ray
            finally:
                ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that something listens at an address, since Ray itself would try for minutes.

    Raises:
        UsageError: the address is not HOST:PORT.
        ClusterError: nothing listens there.
    """
    if address.startswith(_CLIENT):
        raise UsageError(
            f"address is {address!r}: connections through Ray's client are not supported. Run this on a node of the "
            "cluster with its HOST:PORT or 'auto', or submit it with 'ray job submit'"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _PORT_MOST:
        raise UsageError(f"address is {address!r}: it must be HOST:PORT, or 'auto'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except OSError as e:
        raise ClusterError(_no_cluster(address, e.strerror or str(e))) from e


@contextlib.contextmanager
def _without_words() -> Iterator[None]:
    """Suppress, within the block, Ray's warnings and its messages on stdout about dead workers."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(cast("TextIO", _WithoutRay(sys.stdout))):
        warnings.filterwarnings("ignore", module=r"ray(\.|$)")
        yield


class _WithoutRay:
    """A stream that drops what Ray's message thread writes.

    Args:
        stream: receives everything else.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if threading.current_thread().name == _LISTENER:
            return len(text)
        return self._stream.write(text)


def imported() -> Any:
    """Import Ray and Ray Data without their messages."""
    ray = _found()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _found() -> Any:
    wanted = _ENVIRONMENT | (_OF_COMMANDS if is_own() else {})
    os.environ.update({name: os.environ.get(name, value) for name, value in wanted.items()})
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise MissingExtraError(f"engine 'ray' needs an extra: {_INSTALL} ({e.name or e} is missing)") from e
    return ray


@contextlib.contextmanager
def _borrowed() -> Iterator[Any]:
    """Yield Ray as `imported` returns it, and restore the program's environment and loggers afterwards."""
    added = [name for name in _ENVIRONMENT if name not in os.environ]
    levels: dict[str, int] = {}
    try:
        _found()
        levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        yield imported()
    finally:
        if not is_own():
            for name in added:
                os.environ.pop(name, None)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def node_has_died(ray: Any) -> bool:
    """Return whether the cluster's node on this machine has died; False if this cannot be found out.

    A few seconds after its node has died, Ray ends this process without a message.
    """
    node = getattr(ray._private.worker, "_global_node", None)
    name = getattr(node, "raylet_socket_name", None)
    if name is None or not hasattr(socket, "AF_UNIX") or not Path(name).exists():
        return False
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(name)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


@contextlib.contextmanager
def _place_for_files(address: str | None) -> Iterator[dict[str, Any]]:
    """Yield the options of `ray.init`; removes the files of a cluster that is started here afterwards."""
    if address is not None:
        yield {"address": address}
        return
    options = {
        "address": "local",  # even if RAY_ADDRESS names a cluster
        "num_cpus": usable_cpus(),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }
    with token_without_home(), temporary_folder(_PREFIX, _place_for_sockets()) as folder:
        yield {**options, "_temp_dir": str(folder)}


def _place_for_sockets() -> Path:
    """Return a temporary folder in which Ray can make its sockets, the names of which are limited."""
    usual = tempfile.gettempdir()
    fitting = (each for each in (usual, *_SHORT) if len(os.fsencode(each)) + _BELOW <= _SOCKET_PATH_MOST)
    place = usual if sys.platform == "win32" else next((each for each in fitting if os.access(each, os.W_OK)), usual)
    if place != usual:
        _log.info("note: the name of the temporary folder %r is too long for Ray's sockets: Ray uses %s", usual, place)
    return Path(place)


def _why(error: BaseException) -> str:
    """Return why Ray did not connect, with advice if the cluster requires a token."""
    cause: BaseException | None = error
    while cause is not None:
        if "AuthenticationError" in str(cause):
            return "it requires a token: set RAY_AUTH_MODE=token, and the token as Ray's documentation says"
        cause = cause.__cause__
    return str(error)


def _no_cluster(address: str | None, reason: str) -> str:
    told = " ".join(reason.split())
    if address is None:
        return f"a Ray cluster cannot be started on this machine: {told}"
    return f"no Ray cluster answers at {address!r}: {told}"


def workers_of(ray: Any, files: int, threads: int | None, gpus: float) -> Workers:
    """Return how many workers fit on the nodes of a cluster.

    Args:
        ray: the module.
        files: the number of files.
        threads: CPUs of each worker; None means one if there are enough files, otherwise more. With GPUs, None means an
            equal share of the node's CPUs.
        gpus: GPUs of each worker.

    Raises:
        ClusterError: no node has so many CPUs and GPUs.
    """
    nodes = [
        (int(each["Resources"].get("CPU", 0)), float(each["Resources"].get("GPU", 0)))
        for each in ray.nodes()
        if each["Alive"]
    ]
    cpus = threads or _chosen(nodes, files, gpus)
    fitting = [_fitting(node, cpus, gpus) for node in nodes]
    count = sum(fitting)
    if not count:
        cpus_most, gpus_most = (max((node[at] for node in nodes), default=0) for at in (0, 1))
        most = f"{counted(int(cpus_most), 'CPU')} and {gpus_most:g} GPUs"
        wanted = f"threads={cpus}" + (f" and gpus_per_worker={gpus:g}" if gpus else "")
        raise ClusterError(f"{wanted} fits on no node: the largest have {most}")
    return Workers(count, cpus, gpus, sum(number > 0 for number in fitting))


def _chosen(nodes: Sequence[tuple[int, float]], files: int, gpus: float) -> int:
    """Return the CPUs of each worker, so that all workers together use the CPUs of the nodes."""
    if gpus:
        shares = [cpus // int(has // gpus) for cpus, has in nodes if has >= gpus]
        return max(1, min(shares, default=1))
    usable = [cpus for cpus, _ in nodes if cpus]
    return max(1, min(min(usable, default=1), sum(usable) // max(1, files)))


def _fitting(node: tuple[int, float], cpus: int, gpus: float) -> int:
    fitting = node[0] // cpus
    return min(fitting, int(node[1] // gpus)) if gpus else fitting
