"""Names of the files in a run folder; checks and makes the folder."""

from pathlib import Path

from cae_shared.limits import has_run_out
from cae_shared.temporary import check_writable
from cae_train.errors import CaeTrainError, CheckpointError, TrainingError

MODEL, CHECKPOINT, METRICS, CURVES, CONFIG, SAMPLES = (
    "model.pt", "last.ckpt", "metrics.csv", "curves.png", "config.toml", "samples"
)  # fmt: skip


def check(out: Path) -> None:
    """Refuse a path that names no new folder, or one where none can be made, before any work is done.

    Raises:
        CheckpointError: it is the current folder or one above, or no folder can be written there.
        TrainingError: disk space or open files ran out.
    """
    if out.name in ("", ".."):
        raise CheckpointError(f"out {str(out)!r} is not the name of a new folder: choose one, such as runs/train/mine")
    try:
        above = next(place for place in out.absolute().parents if place.exists())
        check_writable(above)
    except OSError as e:
        raise _not_made(out, e) from e


def epochs_done(folder: Path) -> int:
    """Return how many epochs of a run are in its `metrics.csv`; 0 if there is none."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return sum(bool(line.strip()) for line in lines[1:])


def create(out: Path) -> Path:
    """Make a run folder; a name that is taken becomes NAME-2, NAME-3, ...

    Raises:
        CheckpointError: it cannot be made.
        TrainingError: disk space or open files ran out.
    """
    check(out)
    folder, count = out, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            count += 1
            folder = out.with_name(f"{out.name}-{count}")
        except OSError as e:
            raise _not_made(folder, e) from e


def _not_made(folder: Path, error: OSError) -> CaeTrainError:
    kind = TrainingError if has_run_out(error) else CheckpointError
    return kind(f"out {str(folder)!r} cannot be made: {error.strerror or error}")
