"""Child processes that end with this one and can remove their temporary files before."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from cae_shared.signals import child_processes

_GRACE = 2.0  # seconds for a child to end after SIGTERM; our commands end within a second after the second SIGTERM


def start_child(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a child process; the caller must call `end_child` in the end.

    Args:
        command: the program and its arguments.
        options: as `subprocess.Popen` takes them.

    Raises:
        OSError: it does not start.
    """
    process = subprocess.Popen(command, text=True, **options)  # noqa: S603 - the callers name programs of this project
    child_processes.add(process.pid)
    return process


def end_child(process: subprocess.Popen[str]) -> None:
    """End a running child by SIGTERM, then a second SIGTERM, then by force."""
    for end in (process.terminate, process.terminate, process.kill):
        if process.poll() is not None:
            break
        end()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
    child_processes.discard(process.pid)


def run_child(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a child process to its end; if interrupted, end the child first.

    Args:
        command: the program and its arguments.
        options: as `subprocess.Popen` takes them.

    Returns:
        Its exit code, and its output if `options` capture it.

    Raises:
        OSError: it does not start.
    """
    process = start_child(command, **options)
    try:
        written, told = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, written, told)
    finally:
        end_child(process)
