"""The console script `cae-export`, also as `python -m cae_export`: it handles signals before any slow import."""

from __future__ import annotations

from cae_shared.command import keep_matplotlib_out_of_home, run_command
from cae_shared.temporary import temporary_folder


def main() -> None:
    """Run the command and exit with its code."""
    run_command("cae-export", _work)


def _work() -> None:
    import tempfile

    keep_matplotlib_out_of_home()
    with temporary_folder("cae-export-") as folder:
        tempfile.tempdir = str(folder)  # libraries put whole models there, which a second signal would leave
        from cae_export.cli import main

        main()


if __name__ == "__main__":
    main()
