"""The processes of a run on several devices: their number, how they start, and how they end together.

Without torchrun, the first process on a machine starts the others with its own command line, as in Lightning. Unlike in
Lightning, if one of them ends, for any reason, all others end too.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy

from cae_shared.children import start_child
from cae_shared.signals import child_processes, end_now
from cae_shared.temporary import discard_folder, make_temporary_folder
from cae_train.config import AUTO, Hardware
from cae_train.errors import CaeTrainError, ConfigError, LostProcessError, TrainingError
from cae_train.failure_report import FAILURE, is_helper, is_reported, may_report
from cae_train.training.earlier_runs import RUNS, write_runs

_END = 2.0  # seconds for a helper to end after SIGTERM
_LAST = 30.0  # seconds for helpers to end after a successful run
_ORDERLY = 5.0  # seconds for the first process to end by itself after a helper has failed
_NAMES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_ENDED = (
    "an earlier run of this program has failed or was interrupted, and its other processes have ended: start the "
    "program again, on each of the machines, or train on one device"
)


def sized(hardware: Hardware) -> Hardware:
    """Return the hardware with the numbers of devices and machines from torchrun, if it started this process.

    Raises:
        ConfigError: the settings have other numbers.
    """
    if not torch.distributed.is_torchelastic_launched():
        return hardware
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    nodes = world // local
    for name, value, wanted, free in (
        ("devices", hardware.devices, str(local), AUTO),
        ("num_nodes", hardware.num_nodes, nodes, 1),
    ):
        if value not in (wanted, free):
            raise ConfigError(f"{name} is {value}: torchrun has started {local} processes on each of {nodes} machines")
    return replace(hardware, devices=str(local), num_nodes=nodes)


def check_places(trainer: Trainer) -> None:
    """Check that several machines can find each other.

    Raises:
        ConfigError: environment variables with the address of the first machine, or the rank of this one, are missing.
    """
    if trainer.num_nodes == 1 or type(_environment(trainer)) is not LightningEnvironment:
        return
    if missing := [name for name in _NAMES if name not in os.environ]:
        raise ConfigError(
            f"num_nodes is {trainer.num_nodes}: the environment variables {', '.join(_NAMES)} must give the address of "
            f"the first machine and the number of this one (0 is the first); missing: {', '.join(missing)}"
        )


@contextlib.contextmanager
def together(trainer: Trainer) -> Iterator[None]:
    """Start the other processes of a run for the duration of a `with` block; if one fails, all end.

    After a run that has failed, new processes are started, which do not repeat what is over, see `earlier_runs`.

    Raises:
        TrainingError: an earlier run on several machines has failed: those cannot be started anew from here.
        LostProcessError: another process has failed.
        OSError: a process cannot be started.
    """
    if trainer.world_size == 1:
        yield
        return
    helpers = _Helpers.current
    if helpers.over and type(_environment(trainer)) is LightningEnvironment and (trainer.num_nodes > 1 or is_helper()):
        if is_helper():
            _leave()
        raise TrainingError(_ENDED)
    try:
        if not _environment(trainer).creates_processes_externally and trainer.num_devices > 1:
            helpers = _start(trainer)
        helpers.inside = True
        yield
    except BaseException as e:
        helpers.over = True
        lost = _lost() if isinstance(e, RuntimeError) and _is_of_connections(e) else None
        end_helpers()
        if lost is None:
            raise
        raise lost from e
    finally:
        helpers.inside = False


def of_first(trainer: Trainer, work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """Return the result of `work` of the first process in all processes, or raise its error in all of them."""
    result: dict[str, object] | CaeTrainError = {}
    if trainer.is_global_zero:
        try:
            result = work()
        except CaeTrainError as e:
            result = e
    result = trainer.strategy.broadcast(result)
    if isinstance(result, CaeTrainError):
        raise result
    return result


def end_helpers() -> None:
    """End at once the processes that this one has started."""
    helpers = _Helpers.current
    helpers.over = True
    for helper in helpers.started:
        if helper.poll() is None:
            helper.terminate()
    limit = time.monotonic() + _END
    for helper in helpers.started:
        try:
            helper.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:  # it is waiting for another process in native code
            helper.kill()
            helper.wait()
        child_processes.discard(helper.pid)
    helpers.started.clear()
    for name, value in helpers.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    helpers.environment.clear()


class _Helpers:
    """The processes that this one has started together.

    Attributes:
        started: the processes.
        environment: values of environment variables before.
        inside: whether this process is in a run.
        over: whether the runs with these processes have ended.
        failed: the message about the first one that failed.
        code: its exit code.
    """

    current: ClassVar["_Helpers"]

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.environment: dict[str, str | None] = {}
        self.inside = self.over = False
        self.failed = ""
        self.code = 0


_Helpers.current = _Helpers()


def _environment(trainer: Trainer) -> ClusterEnvironment:
    environment = cast(ParallelStrategy, trainer.strategy).cluster_environment
    assert environment is not None  # noqa: S101 - Lightning chooses one for several processes
    return environment


def _start(trainer: Trainer) -> _Helpers:
    """Start the other processes of this machine, and watch them."""
    if _Helpers.current.over and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the one of a run that has failed
    helpers = _Helpers.current = _Helpers()
    environment = _environment(trainer)
    folder = make_temporary_folder("cae-train-")
    atexit.register(discard_folder, folder)
    write_runs(folder / "runs")
    places = {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(trainer.world_size),
        RUNS: str(folder / "runs"),
    }
    helpers.environment.update({name: os.environ.get(name) for name in places})
    os.environ |= {**places, FAILURE: str(folder / "told")}  # FAILURE stays set: the code that reports the end needs it
    atexit.register(_await, helpers)
    for rank in range(1, trainer.num_devices):
        helper = start_child(_command(), env=os.environ | {"LOCAL_RANK": str(rank)}, stdin=subprocess.DEVNULL)
        helpers.started.append(helper)
        name = f"process {rank + 1} of {trainer.num_devices}"
        threading.Thread(target=_watch, args=(helpers, helper, name), daemon=True).start()
    return helpers


def _command() -> list[str]:
    """Return the command that started this process, to start others in the same way."""
    import __main__

    if Path(sys.argv[0]).stem == "cae-train":
        return [sys.executable, "-m", "cae_train", *sys.argv[1:]]
    if __main__.__spec__ is None:
        return [sys.executable, str(Path(sys.argv[0]).absolute()), *sys.argv[1:]]
    return [sys.executable, "-m", __main__.__spec__.name.removesuffix(".__main__"), *sys.argv[1:]]


def _watch(helpers: _Helpers, helper: subprocess.Popen[str], name: str) -> None:
    """Wait for the end of a helper. If it failed, and this process keeps waiting for it, end this process too."""
    code = helper.wait()
    if helpers.over or (code == 0 and not helpers.inside):
        return
    if code and not helpers.failed:
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        helpers.failed, helpers.code = f"{name} {ended}", code if 0 < code < 128 else 1
    time.sleep(_ORDERLY)
    if helpers.over or (code == 0 and not helpers.inside):  # the run has ended too
        return
    if may_report():
        sys.stderr.write(f"cae-train: {helpers.failed or f'{name} ended during a run'}\n")
    end_now(helpers.code or 1)


def _leave() -> None:
    """Let the first process notice that this helper has left its run, and wait to be ended by it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # otherwise it would wait for the next step of this one
    time.sleep(_LAST)


def _lost() -> LostProcessError:
    """Return the error of a process that has lost another one, which may be about to report the reason."""
    helpers, limit = _Helpers.current, time.monotonic() + _END
    while time.monotonic() < limit and not (is_reported() or helpers.failed):
        time.sleep(0.05)
    return LostProcessError(helpers.failed or "another process of this run has ended", helpers.code or 1)


def _is_of_connections(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or any(
        word in str(error) for word in ("onnection", "gloo", "peer")
    )


def _await(helpers: _Helpers) -> None:
    """Let the other processes end too, at the end of this one."""
    helpers.over = True
    limit = time.monotonic() + _LAST
    with contextlib.suppress(subprocess.TimeoutExpired):
        for helper in helpers.started:
            helper.wait(max(0.0, limit - time.monotonic()))
    end_helpers()
