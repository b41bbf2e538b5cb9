"""The console script `cae-train`, also as `python -m cae_train`: it handles signals before any slow import."""

from __future__ import annotations

import os

from cae_shared.command import keep_matplotlib_out_of_home, run_command
from cae_train.failure_report import is_helper

PIXELS_MAX = 2**28  # of a picture, as in cae-run: a small file may announce far more


def main() -> None:
    """Run the command and exit with its code."""
    run_command("cae-train", _work, quiet=is_helper())


def _work() -> None:
    keep_matplotlib_out_of_home()
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXELS_MAX))  # before OpenCV is imported
    from cae_train.cli.main import main

    main()


if __name__ == "__main__":
    main()
