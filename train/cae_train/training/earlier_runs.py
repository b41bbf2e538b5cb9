"""The outcomes of a program's runs, for the processes that it starts later to train on several devices.

Such a process runs the program from its beginning. It does not repeat runs that were over when it was started, but
takes their results from the first process.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

from cae_train.errors import TrainingError
from cae_train.failure_report import is_helper

RUNS = "CAE_TRAIN_RUNS"  # environment variable: a file with the outcomes of the runs that are over

Result = TypeVar("Result")


class _Runs:
    over: ClassVar[list[bytes]] = []  # the pickled results and errors, in order


def once(work: Callable[[], Result]) -> Result:
    """Return the result of a run, or raise its error; of a run that is over already, those of the first process.

    Args:
        work: does the run.
    """
    number, earlier = len(_Runs.over), _earlier()
    if number < len(earlier):
        _Runs.over.append(earlier[number])
        outcome = pickle.loads(earlier[number])  # noqa: S301 - of the first process of this program
        if isinstance(outcome, BaseException):
            raise outcome
        result: Result = outcome
        return result
    try:
        result = work()
    except BaseException as e:  # a program may go on after Ctrl-C, too
        _Runs.over.append(_pickled(e))
        raise
    _Runs.over.append(_pickled(result))
    return result


def write_runs(file: Path) -> None:
    """Write the outcomes so far to a file, which `RUNS` must name in the processes that are to know them.

    Raises:
        OSError: it cannot be written.
    """
    file.write_bytes(pickle.dumps(_Runs.over))


def _earlier() -> list[bytes]:
    """Return the outcomes that this process was given; empty in the first one."""
    file = os.environ.get(RUNS)
    if file is None or not is_helper():
        return []
    given: list[bytes] = pickle.loads(Path(file).read_bytes())  # noqa: S301 - as above
    return given


def _pickled(outcome: object) -> bytes:
    try:
        content = pickle.dumps(outcome)
        pickle.loads(content)  # noqa: S301 - made just now; some errors cannot be read again
    except Exception:
        return pickle.dumps(TrainingError(str(outcome)))
    return content
