"""What models are made for beside cleaning: each task is one file that takes pictures and gives results.

A module of this package is named like the `task` of the models that it runs, and has

    HEEDED                      names of the options that it takes, beside those of every task
    run(session, request)       does the work and returns what became of it

`cae-run` opens the model, reads its task, and calls the module of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from cae_runtime.cli.option_checks import typed
from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session

TASKS: Final = ("encode", "anomaly", "generate")
_OF_EVERY_TASK: Final = frozenset(
    {"output", "verbose", "model", "provider", "threads", "batch", "overwrite", "as_json"}
)


@dataclass(frozen=True)
class Request:
    """What was typed, as far as a task may heed it.

    Attributes:
        sources: images and folders; `generate` takes none.
        output: a file or folder, as the task has it.
        overwrite: replace what is there.
        batch: patches a call of the model, or None.
        overlap: pixels shared by neighbouring patches, or None.
        per_patch: `encode`: a row a patch.
        count: `generate`: how many pictures, or None.
        latent: `generate`: a file of codes, or None.
        seed: `generate`: of the codes that are drawn, or None.
        tell: takes a line for the user.
    """

    sources: tuple[Path, ...]
    output: Path
    overwrite: bool = False
    batch: int | None = None
    overlap: int | None = None
    per_patch: bool = False
    count: int | None = None
    latent: Path | None = None
    seed: int | None = None
    tell: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        document: what `--json` prints, ready for `json.dumps`.
        failed: whether some file failed.
    """

    document: dict[str, Any] = field(default_factory=dict)
    failed: bool = False


def run(session: Session, request: Request, given: set[str]) -> Outcome:
    """Do what a model is made for.

    Args:
        session: the model, of a task in `TASKS`.
        request: what to do.
        given: names of the options and arguments that were given.

    Raises:
        UsageError: an option was typed that the task has no use for.
        CaeRuntimeError: as the task's own file says.
    """
    task = session.spec.task
    module = _module(task)
    ignored = sorted(given - _OF_EVERY_TASK - module.HEEDED)
    if ignored:
        words = ", ".join("SOURCE" if name == "sources" else f"--{typed(name)}" for name in ignored)
        raise UsageError(f"model {str(session.path)!r} is made for task {task!r}, which takes no {words}")
    outcome: Outcome = module.run(session, request)
    return outcome


def _module(task: str) -> ModuleType:
    if task not in TASKS:
        raise UsageError(f"task is {task!r}: it must be one of {', '.join(TASKS)}")
    return import_module(f"cae_runtime.tasks.{task}")
