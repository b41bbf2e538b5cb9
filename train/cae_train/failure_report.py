"""Lets only one of the processes of a run on this machine report a failure that several of them see."""

import os
from pathlib import Path

FAILURE = "CAE_TRAIN_FAILURE"  # environment variable: a file that the first process to report a failure creates
_TORCHRUN = "TORCHELASTIC_ERROR_FILE"  # lies in torchrun's own temporary folder: ATTEMPT/LOCAL_RANK/error.json


def is_helper() -> bool:
    """Return whether another process on this machine started this one, and reports for it."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def is_shared() -> bool:
    """Return whether several processes of this run are on this machine."""
    return _place() is not None


def may_report() -> bool:
    """Return whether this process must report why the run failed, since no other one on this machine has."""
    place = _place()
    if place is None:
        return True
    try:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def is_reported() -> bool:
    """Return whether a process has reported why the run failed."""
    place = _place()
    return place is not None and place.exists()


def _place() -> Path | None:
    if own := os.environ.get(FAILURE):
        return Path(own)
    if given := os.environ.get(_TORCHRUN):
        return Path(given).parent.parent / "cae-train-failure"
    return None
