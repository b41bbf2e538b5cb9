"""Trainings beside each other, each its own process with one thread."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import typer


def run(commands: Sequence[Sequence[str]], jobs: int) -> None:
    """Run all, `jobs` at a time.

    Raises:
        typer.Exit: one failed; the others have run nevertheless.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def code(command: Sequence[str]) -> int:
        return subprocess.run(command, env=environment, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        if any(list(pool.map(code, commands))):
            raise typer.Exit(1)
