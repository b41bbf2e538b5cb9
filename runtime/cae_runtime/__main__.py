"""The console script `cae-run`, also as `python -m cae_runtime`: it handles signals before any slow import."""

from __future__ import annotations

from cae_shared.command import run_command


def main() -> None:
    """Run the command and exit with its code."""
    run_command("cae-run", _work)


def _work() -> None:
    from cae_runtime.cli.main import main

    main()


if __name__ == "__main__":
    main()
