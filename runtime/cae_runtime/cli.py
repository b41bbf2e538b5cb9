"""The command `cae-run`: parse, call, report."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cae_runtime.errors import CaeRuntimeError, ImageError, UsageError
from cae_runtime.formats import FORMAT_OF_SUFFIX

if TYPE_CHECKING:
    from cae_runtime.batch import FileResult
    from cae_runtime.plan import Plan
    from cae_runtime.restorer import Restorer

_PIPE = "-"
_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_EXTENSIONS = ", ".join(suffix.removeprefix(".") for suffix in FORMAT_OF_SUFFIX)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command and exit with its code."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that partial files are removed
    with _quiet_decoders():
        app(prog_name="cae-run")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-run {version('cae-toolkit')}")
        raise typer.Exit


@app.command()
def run(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", show_default=False, help="Images and folders; - is stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder, or file for one image; - is stdout."),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of a packaged model, or a .onnx file.")] = "denoise",
    provider: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, tensorrt, openvino, coreml, ...")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU provider; all CPUs without it.")] = None,
    batch: Annotated[int, typer.Option(help="Patches a call of the model.")] = 32,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels shared by neighbouring patches; the model's own without it.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 leaves the image as it is, 1 cleans it fully.")] = 1.0,
    suffix: Annotated[str, typer.Option(help="Added to each name: _clean makes photo_clean.jpg.")] = "",
    ext: Annotated[
        str | None, typer.Option(help=f"Format of the outputs ({_EXTENSIONS}); as SOURCE without it.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="JPEG and WebP quality 1..100; 95 without it, a lossless WebP stays lossless.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; else skipped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a report of every file on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Clean noisy images with a small neural network.

    Exit codes: 0 all done, 1 some file failed, 2 wrong usage or unusable model, 3 provider unavailable,
    130 interrupted.
    """
    try:
        _check_range("threads", threads, 1)
        _check_range("batch", batch, 1)
        _check_range("overlap", overlap, 0)
        _check_range("strength", strength, 0, 1)
        _check_range("quality", quality, 1, 100)
        dotted = _checked_ext(ext)
        if Path(suffix).name != suffix:
            raise UsageError(f"--suffix is {suffix!r}: it must be part of a file's name, such as _clean")
        if output is None:
            raise UsageError("name where the result goes: -o OUT, a folder or a file")
        if "" in (*sources, output, model):
            raise UsageError("SOURCE, -o or -m is empty: name a file or a folder (. is the current one)")

        def open_model() -> Restorer:
            from cae_runtime.restorer import Restorer

            return Restorer(model, provider=provider, threads=threads, batch=batch, overlap=overlap)

        if _PIPE in (*sources, output):
            if len(sources) > 1 or suffix or as_json:
                raise UsageError("- goes with one SOURCE, and without --suffix and --json")
            _clean_pipe(sources[0], output, dotted, overwrite, open_model, strength=strength, quality=quality)
            return

        from cae_runtime.plan import make_plan, prepare_output

        plan = make_plan([Path(source) for source in sources], Path(output), suffix=suffix, ext=dotted)
        restorer = open_model()
        prepare_output(plan.folder)
        results, seconds = _clean_plan(plan, restorer, strength=strength, quality=quality, overwrite=overwrite)
        from cae_runtime.report import json_report, not_reached

        if as_json:
            if sys.stdout is None:
                raise OSError(errno.EBADF, "stdout is closed: the report has nowhere to go")
            typer.echo(json_report(results, plan, restorer, model, strength, seconds))
        if not_reached(results, plan):
            raise KeyboardInterrupt
        if any(result.status == "failed" for result in results):
            raise typer.Exit(_EXIT_FAILED)
    except CaeRuntimeError as e:
        typer.echo(f"cae-run: {e}", err=True)
        raise typer.Exit(e.exit_code) from e
    except KeyboardInterrupt as e:
        typer.echo("cae-run: interrupted", err=True)
        raise typer.Exit(_EXIT_INTERRUPTED) from e
    except OSError as e:  # the report cannot be written, or the working folder is gone
        if (
            sys.stdout is not None and sys.stdout is sys.__stdout__
        ):  # what stdout still holds would be tried again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        typer.echo(f"cae-run: {e.strerror or e}", err=True)
        raise typer.Exit(_EXIT_FAILED) from e


def _clean_plan(
    plan: Plan, restorer: Restorer, *, strength: float, quality: int | None, overwrite: bool
) -> tuple[list[FileResult], float]:
    """Clean all files of a plan, with progress and summary; return the results and the seconds.

    Ctrl-C ends the cleaning, not the telling: then there are fewer results than the plan has files.
    """
    from cae_runtime.batch import clean_files, unreadable_results
    from cae_runtime.report import summary, with_progress

    typer.echo(f"provider: {restorer.provider_note}", err=True)
    start = time.perf_counter()
    found = clean_files(restorer, plan.jobs, strength=strength, quality=quality, overwrite=overwrite)
    results = unreadable_results(restorer, plan.unreadable)
    with contextlib.suppress(KeyboardInterrupt):
        for result in with_progress(found, len(plan.jobs)):
            results.append(result)  # one by one, so that Ctrl-C leaves those that are done
    seconds = time.perf_counter() - start
    for line in summary(results, plan, restorer.provider, seconds):
        typer.echo(line, err=True)
    return results, seconds


def _clean_pipe(
    source: str,
    output: str,
    ext: str | None,
    overwrite: bool,
    open_model: Callable[[], Restorer],
    *,
    strength: float,
    quality: int | None,
) -> None:
    """Clean one image from stdin, or to stdout, or both; what is said goes to stderr."""
    from cae_runtime.plan import is_folder, prepare_output

    target = None if output == _PIPE else Path(output)
    if target is None:
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("-o - has no file or program behind stdout to write the image to")
    else:
        there = is_folder(target, "output")
        if there or target.suffix.lower() not in FORMAT_OF_SUFFIX or ext:
            raise UsageError(f"output {output!r}: with - as SOURCE it must be a file's full name, or -, without --ext")
        ext = target.suffix.lower()
        if there is not None and not overwrite:
            typer.echo(f"skipped: {output!r} exists (--overwrite replaces it)", err=True)
            return
    if source != _PIPE and is_folder(Path(source), "source") is not False:
        raise UsageError(f"source {source!r} is not a file")

    restorer = open_model()
    if target is not None:
        prepare_output(target.parent)
    from cae_runtime.batch import NO_MEMORY, clean_bytes
    from cae_runtime.images import read_file, read_stream, write_file

    typer.echo(f"provider: {restorer.provider_note}", err=True)
    try:
        data = read_stream(sys.stdin.buffer) if source == _PIPE else read_file(Path(source))
        cleaned = clean_bytes(
            restorer, data, format=FORMAT_OF_SUFFIX[ext] if ext else None, strength=strength, quality=quality
        )
        if target is not None:
            write_file(target, cleaned.data)
    except (ImageError, MemoryError) as e:
        reason = str(e) if isinstance(e, ImageError) else NO_MEMORY
        raise ImageError(f"{'stdin' if source == _PIPE else repr(source)} {reason}") from e
    if target is None:
        try:
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:  # of its own: what fails is not tried again
                stream.write(cleaned.data)
        except OSError as e:
            raise UsageError(f"output '-' cannot be written to: {e.strerror}") from e
    if cleaned.dropped:
        typer.echo(f"metadata that did not come along: {', '.join(cleaned.dropped)}", err=True)


def _check_range(name: str, value: float | None, low: int, high: int | None = None) -> None:
    if value is None or low <= value <= (math.inf if high is None else high):
        return
    raise UsageError(f"--{name} is {value}: it must be {f'{low} or more' if high is None else f'{low}..{high}'}")


def _checked_ext(ext: str | None) -> str | None:
    if ext is None:
        return None
    dotted = f".{ext.removeprefix('.').lower()}"
    if dotted not in FORMAT_OF_SUFFIX:
        raise UsageError(f"--ext is {ext!r}: it must be one of {_EXTENSIONS}")
    return dotted


@contextlib.contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Silence what C libraries write to stderr by themselves; Python's stderr stays what it is."""
    try:
        kept = os.dup(2)
    except OSError:  # the process was started without a stderr
        with Path(os.devnull).open("w") as sys.stderr:
            yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    before = sys.stderr
    with os.fdopen(kept, "w", buffering=1, encoding=before.encoding, errors="backslashreplace") as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
