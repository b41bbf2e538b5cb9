"""The console script `cae-train`, also as `python -m cae_train`: it handles signals before any slow import."""

from __future__ import annotations

from cae_shared.command import keep_matplotlib_out_of_home, run_command
from cae_train.told import is_helper


def main() -> None:
    """Run the command and exit with its code."""
    run_command("cae-train", _work, quiet=is_helper())


def _work() -> None:
    keep_matplotlib_out_of_home()
    from cae_train.cli.main import main

    main()


if __name__ == "__main__":
    main()
