"""One message for a failure that several processes of a run on this machine see."""

import os
from pathlib import Path

FAILURE = "CAE_TRAIN_FAILURE"  # environment variable: the file that the first process to tell a failure makes
_TORCHRUN = "TORCHELASTIC_ERROR_FILE"  # lies in torchrun's own temporary folder: ATTEMPT/LOCAL_RANK/error.json


def is_helper() -> bool:
    """Return whether this process was started to help another one on this machine, which does the talking."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def is_shared() -> bool:
    """Return whether this process is one of several of a run on this machine."""
    return _place() is not None


def may_tell() -> bool:
    """Return whether this process is to say why the run failed: whether no other on this machine has."""
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


def is_told() -> bool:
    """Return whether a process has said why the run failed."""
    place = _place()
    return place is not None and place.exists()


def _place() -> Path | None:
    if own := os.environ.get(FAILURE):
        return Path(own)
    if given := os.environ.get(_TORCHRUN):
        return Path(given).parent.parent / "cae-train-failure"
    return None
