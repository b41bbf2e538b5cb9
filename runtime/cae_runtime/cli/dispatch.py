"""Chooses and runs the requested command, and ends it with its exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cae_runtime.cli.option_checks import command_meant
from cae_runtime.cli.options import Options
from cae_runtime.cli.terminal import OPTIONS, tell
from cae_runtime.errors import CaeRuntimeError
from cae_shared.command import drop_stdout, reason, require_address_space
from cae_shared.logs import log_to_stderr
from cae_shared.signals import exit_code, interruptible
from cae_shared.text import printable, with_options

_EXIT_FAILED = 1


def perform(options: Options) -> None:
    """Run the requested command.

    Raises:
        typer.Exit: with the exit code, unless it is 0.
    """
    log_to_stderr(options.verbose, OPTIONS)
    with _errors_told():
        options.check()
        command = command_meant(options)
        require_address_space(_address_space())
        if command == "doctor":
            _examine(options)
        elif command == "benchmark":
            with interruptible():
                _measure(options)
        elif command == "list-cameras":
            from cae_runtime.cli.live import named_cameras

            typer.echo("\n".join(map(printable, named_cameras())))
        elif command == "webcam":
            from cae_runtime.cli.live import run_webcam

            with interruptible():
                run_webcam(options)
        elif command in ("view", "sheet"):
            from cae_runtime.cli.view import run_sheet, run_view

            with interruptible():
                (run_view if command == "view" else run_sheet)(options)
        elif command == "page":
            from cae_runtime.cli.page import serve_page

            with interruptible():
                serve_page(window=not options.no_window)
        elif command == "analyze":
            from cae_runtime.cli.clean import analyze

            with interruptible():
                analyze(options)
        else:
            from cae_runtime.cli.clean import clean

            clean(options)


@contextmanager
def _errors_told() -> Iterator[None]:
    """Turn errors into a message and an exit code."""
    try:
        yield
    except CaeRuntimeError as e:
        tell(f"cae-run: {with_options(str(e), OPTIONS)}")
        raise typer.Exit(e.exit_code) from e
    except KeyboardInterrupt as e:
        typer.echo("cae-run: interrupted", err=True)
        raise typer.Exit(exit_code()) from e
    except OSError as e:  # the report cannot be written, or the working folder no longer exists
        told = reason(e)
        drop_stdout()
        tell(f"cae-run: {told}")
        raise typer.Exit(_EXIT_FAILED) from e


def _address_space() -> int:
    """Return how many bytes OpenBLAS, OpenCV and onnxruntime map at start; with less they crash."""
    return (640 + 64 * (os.cpu_count() or 1)) * 2**20


def _examine(options: Options) -> None:
    """Print what the doctor finds.

    Raises:
        typer.Exit: there is a problem.
    """
    from cae_runtime.cli import doctor

    findings = doctor.examine()
    typer.echo(doctor.as_json(findings) if options.as_json else "\n".join(doctor.as_text(findings)))
    if findings.problems:
        raise typer.Exit(_EXIT_FAILED)


def _measure(options: Options) -> None:
    """Print how fast this machine is with a model, or with every packaged model that cleans pictures."""
    from cae_runtime.cli import benchmark
    from cae_runtime.inference.cpu_limits import usable_cpus
    from cae_runtime.inference.model_files import DEFAULT_MODEL, packaged_models

    names = [name for name in packaged_models() if name.startswith(DEFAULT_MODEL)]
    if options.model is not None:
        names = [options.model]
    wanted = [
        benchmark.Settings(name, options.provider, options.threads, options.batch, options.overlap) for name in names
    ]
    figures = benchmark.benchmark(wanted, lambda name: tell(f"measuring {name}"))
    typer.echo(f"measuring {benchmark.NON_LOCAL_MEANS}", err=True)
    used = options.threads or usable_cpus()
    peer = benchmark.non_local_means(used)
    as_text = benchmark.as_json if options.as_json else lambda *of: "\n".join(benchmark.as_text(*of))
    typer.echo(as_text(figures, peer, used))
