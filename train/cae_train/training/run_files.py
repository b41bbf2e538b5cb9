"""Names of the files in a run folder; checks and makes the folder."""

from pathlib import Path

from cae_train.errors import CheckpointError

MODEL, CHECKPOINT, METRICS, CURVES, CONFIG, SAMPLES = (
    "model.pt", "last.ckpt", "metrics.csv", "curves.png", "config.toml", "samples"
)  # fmt: skip


def check(out: Path) -> None:
    """Refuse a path that names no new folder.

    Raises:
        CheckpointError: it is the current folder or one above.
    """
    if out.name in ("", ".."):
        raise CheckpointError(f"out {str(out)!r} names no new folder: give one a name, such as runs/train/mine")


def create(out: Path) -> Path:
    """Make a run folder; a name that is taken becomes NAME-2, NAME-3, ...

    Raises:
        CheckpointError: it cannot be made.
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
            raise CheckpointError(f"out {folder} cannot be made: {e.strerror or e}") from e
