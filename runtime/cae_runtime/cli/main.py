"""The command `cae-run`: parse, call, report."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cae_runtime.cli.option_checks import check_restoring, check_task, command_meant, refuse_in_pipe
from cae_runtime.cli.source_names import expanded
from cae_runtime.errors import CaeRuntimeError, UsageError
from cae_runtime.io.formats import CODECS, CRF_MAX, FORMAT_OF_SUFFIX, PIPE, VIDEO_FORMAT_OF_SUFFIX, VideoCoding
from cae_runtime.io.stderr import quiet_decoders
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_shared.command import drop_stdout, require_address_space
from cae_shared.signals import interruptible
from cae_shared.text import printable

if TYPE_CHECKING:
    from cae_runtime.inference.session import Session
    from cae_runtime.tasks.restore import Restorer

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_DEFAULT_MODEL = "denoise"
_EXTENSIONS = ", ".join(suffix.removeprefix(".") for suffix in FORMAT_OF_SUFFIX)
_CONTAINERS = ", ".join(suffix.removeprefix(".") for suffix in VIDEO_FORMAT_OF_SUFFIX)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command and exit with its code."""
    gc.disable()  # until everything is imported: imports create no garbage
    try:
        with quiet_decoders():
            app(prog_name="cae-run")
    finally:
        gc.freeze()  # the process ends anyway: collecting cycles would take 20 ms


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-run {version('cae-toolkit')}")
        raise typer.Exit


@app.command()
def run(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", show_default=False, help="Images, videos and folders; - is stdin."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder, or file for one SOURCE; - is stdout."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Name of a packaged model, or a .onnx file; denoise without it, live the best that is fast enough.",
        ),
    ] = None,
    provider: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, tensorrt, openvino, coreml, ...")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU provider; all CPUs without it.")] = None,
    batch: Annotated[int | None, typer.Option(help="Patches a call of the model; 32 of 32x32 without it.")] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels shared by neighbouring patches; the model's own without it.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 leaves the image as it is, 1 cleans it fully.")] = 1.0,
    stretch: Annotated[
        bool, typer.Option(help="Stretch 16-bit images whose noise is too faint for the model before cleaning them.")
    ] = True,
    suffix: Annotated[str, typer.Option(help="Added to each name: _clean makes photo_clean.jpg.")] = "",
    ext: Annotated[
        str | None,
        typer.Option(help=f"Format of the images ({_EXTENSIONS}) or videos ({_CONTAINERS}); as SOURCE without it."),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(help="JPEG and WebP quality 1..100. Default: 95, a JPEG's own if higher; lossless WebP stays so."),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help=f"Codec of videos ({', '.join(CODECS)}); h264 without it, in WebM vp9.")
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Quality of videos, lower is better: 0..51, vp9 and av1 0..63; 18 for h264.")
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            help="Of videos: yuv444p keeps all color, yuv420p plays everywhere; as SOURCE without it, yuv420p for RGB."
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="Fill what is white here: an image for all SOURCEs, or a folder of one for each.", metavar="PATH"
        ),
    ] = None,
    mask_color: Annotated[
        str | None, typer.Option(help="Fill what has this colour, such as '#ff00ff'.", metavar="COLOR")
    ] = None,
    per_patch: Annotated[bool, typer.Option("--per-patch", help="Features of patches, not of images.")] = False,
    generate: Annotated[int | None, typer.Option(help="Make so many pictures.", metavar="N")] = None,
    latent: Annotated[
        Path | None, typer.Option(help="Make the pictures of these codes, a .npy file.", metavar="FILE")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the pictures that are made: one seed, the same ones.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; else skipped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report on stdout as JSON.")] = False,
    webcam: Annotated[
        bool, typer.Option("--webcam", help="Clean a camera's picture, live in a window; H shows its keys.")
    ] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Which one: number, /dev/videoN, video file or address; the first without it.", metavar="CAMERA"
        ),
    ] = None,
    list_cameras: Annotated[bool, typer.Option("--list-cameras", help="Name the cameras that are here.")] = False,
    size: Annotated[str | None, typer.Option(help="Asked of the camera, such as 1280x720.", metavar="WxH")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second asked of the camera.")] = None,
    target_fps: Annotated[
        float | None, typer.Option(help="Hold this rate: step down to cheaper models when it is missed.")
    ] = None,
    temporal: Annotated[bool, typer.Option(help="Cameras, videos: average what stands still over time.")] = True,
    compare: Annotated[
        bool, typer.Option("--compare", help="Begin with the original beside the cleaned picture.")
    ] = False,
    reconnect: Annotated[bool, typer.Option("--reconnect", help="Open a camera that stops again.")] = False,
    virtual_camera: Annotated[
        bool, typer.Option("--virtual-camera", help="Offer the cleaned picture to other programs.")
    ] = False,
    no_window: Annotated[bool, typer.Option("--no-window", help="Live without a window.")] = False,
    frames: Annotated[int | None, typer.Option(help="End after so many frames.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
    doctor: Annotated[bool, typer.Option("--doctor", help="Tell what is installed here and what of it works.")] = False,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="Measure the models on this machine.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print which execution provider runs the model, and why.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Clean noisy images, videos and cameras' pictures with a small neural network.

    What else a model is made for its file says: filling holes (--mask), features (-o FILE.npz), anomalies, pictures of
    its own (--generate).

    Exit codes: 0 all done, 1 some file failed, the doctor found a problem, or the system ran out of memory, disk space
    or open files, 2 wrong usage or unusable model,
    3 provider, camera or display unavailable, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
    """
    try:
        _check_range("threads", threads, 1)
        _check_range("batch", batch, 1)
        _check_range("overlap", overlap, 0)
        _check_range("strength", strength, 0, 1)
        _check_range("quality", quality, 1, 100)
        _check_range("fps", fps, 1, 1000)
        _check_range("target-fps", target_fps, 1, 1000)
        _check_range("frames", frames, 1)
        _check_range("seconds", seconds, 0.1)
        _check_range("generate", generate, 1)
        _check_range("seed", seed, 0)
        _check_range("crf", crf, 0, max(CRF_MAX.values()))
        if codec is not None and codec not in CODECS:
            raise UsageError(f"--codec is {codec!r}: it must be one of {', '.join(CODECS)}")
        coding = VideoCoding(codec, crf, pixel_format)
        dotted = _checked_ext(ext)
        if Path(suffix).name != suffix:
            raise UsageError(f"--suffix is {suffix!r}: it must be part of a file's name, such as _clean")
        command = command_meant(
            _given(ctx), doctor=doctor, benchmark=benchmark, list_cameras=list_cameras, webcam=webcam
        )
        require_address_space(_address_space())
        if command == "doctor":
            _examine(as_json)
            return
        if command == "benchmark":
            with interruptible():
                _measure(model, provider, threads, batch, overlap, as_json)
            return
        if command == "list-cameras":
            from cae_runtime.cli.live import named_cameras

            typer.echo("\n".join(map(printable, named_cameras())))
            return
        named, model = model, _DEFAULT_MODEL if model is None else model

        def open_session(name: str = model) -> Session:
            from cae_runtime.inference.session import Session

            if not gc.isenabled():
                gc.freeze()
                gc.enable()
            session = Session(name, provider=provider, threads=threads)
            if verbose and not session.provider_was_chosen:  # otherwise it is printed anyway
                _tell(f"provider: {session.provider_note}")
            return session

        def open_model(model: str | Session = model) -> Restorer:
            from cae_runtime.tasks.restore import Restorer

            session = open_session(model) if isinstance(model, str) else model
            return Restorer(session, batch=batch, overlap=overlap, stretch=stretch, pin_threads=True)

        if command == "webcam":
            from cae_runtime.cli.live import run_webcam

            with interruptible():
                run_webcam(
                    open_model, camera=camera, size=size, fps=fps, model=named, strength=strength, compare=compare,
                    temporal=temporal, target_fps=target_fps, reconnect=reconnect, no_window=no_window, output=output,
                    overwrite=overwrite, virtual_camera=virtual_camera, frames=frames, seconds=seconds, tell=_tell,
                    tell_json=typer.echo if as_json else None,
                )  # fmt: skip
            return
        if not sources and generate is None and latent is None:
            raise UsageError(
                "name what to work on: SOURCE..., images, videos or folders; --webcam; or of a decoder --generate N or "
                "--latent FILE (see --help)"
            )
        if output is None:
            raise UsageError("name where the result goes: -o OUT, a folder or a file")
        sources = expanded(sources or [])
        if "" in (*sources, output, model, mask):
            raise UsageError("SOURCE, -o, -m or --mask is empty: name a file or a folder (. is the current one)")

        options = RestoreOptions(
            strength=strength, stretch=stretch, batch=batch, overlap=overlap, suffix=suffix, ext=dotted,
            quality=quality, coding=coding, temporal=temporal, mask=None if mask is None else Path(mask),
            mask_color=mask_color, overwrite=overwrite,
        )  # fmt: skip
        if PIPE in (*sources, output):
            refuse_in_pipe(_given(ctx), len(sources))
            from cae_runtime.jobs.restore.pipe import restore_pipe

            restore_pipe(open_session, sources[0], output, options, _tell)
            return

        session = open_session()
        if session.spec.task != "restore":
            from cae_runtime.inference.cpu_speed import fp16_note
            from cae_runtime.jobs import requests

            if slow := fp16_note(session.spec.precision, session.provider):
                _tell(slow)
            check_task(_given(ctx), session.spec.task, session.path)
            request = requests.Request(
                tuple(map(Path, sources)), Path(output), overwrite=overwrite, batch=batch, overlap=overlap,
                per_patch=per_patch, count=generate, latent=latent, seed=seed, tell=_tell,
            )  # fmt: skip
            with interruptible():
                outcome = requests.run(session, request)
            if as_json:
                _print_json(json.dumps(outcome.document, indent=2))
            if outcome.failed:
                raise typer.Exit(_EXIT_FAILED)
            return
        check_restoring(_given(ctx), session.path, Path(output))
        from cae_runtime.jobs.restore.job import restore_files
        from cae_runtime.jobs.restore.report import json_report

        restored = restore_files(session, [Path(source) for source in sources], output, options, _tell)
        if as_json:
            _print_json(json_report(restored, strength))
        if restored.interrupted:
            raise KeyboardInterrupt
        if restored.failed:
            raise typer.Exit(_EXIT_FAILED)
    except CaeRuntimeError as e:
        _tell(f"cae-run: {e}")
        raise typer.Exit(e.exit_code) from e
    except KeyboardInterrupt as e:
        typer.echo("cae-run: interrupted", err=True)
        raise typer.Exit(_EXIT_INTERRUPTED) from e
    except OSError as e:  # the report cannot be written, or the working folder no longer exists
        drop_stdout()
        _tell(f"cae-run: {e.strerror or e}")
        raise typer.Exit(_EXIT_FAILED) from e


def _address_space() -> int:
    """Return how many bytes OpenBLAS, OpenCV and onnxruntime map at start; with less they crash."""
    return (640 + 64 * (os.cpu_count() or 1)) * 2**20


def _print_json(document: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed: the report has nowhere to go")
    typer.echo(document)


def _given(ctx: typer.Context) -> set[str]:
    """Names of the options and arguments that were given."""
    sources = {name: getattr(ctx.get_parameter_source(name), "name", "") for name in ctx.params}
    return {name for name, source in sources.items() if source == "COMMANDLINE"}


def _tell(line: str) -> None:
    typer.echo(printable(line), err=True)


def _examine(as_json: bool) -> None:
    """Print the doctor's findings.

    Raises:
        typer.Exit: there is a problem.
    """
    from cae_runtime.cli import doctor

    findings = doctor.examine()
    typer.echo(doctor.as_json(findings) if as_json else "\n".join(doctor.as_text(findings)))
    if findings.problems:
        raise typer.Exit(_EXIT_FAILED)


def _measure(
    model: str | None, provider: str, threads: int | None, batch: int | None, overlap: int | None, as_json: bool
) -> None:
    """Print how fast this machine is with one model, or with all packaged denoisers."""
    from cae_runtime.cli import benchmark
    from cae_runtime.inference.cpu_limits import usable_cpus
    from cae_runtime.inference.session import packaged_models

    names = [name for name in packaged_models() if name.startswith(_DEFAULT_MODEL)] if model is None else [model]
    wanted = [benchmark.Settings(name, provider, threads, batch, overlap) for name in names]
    figures = benchmark.benchmark(wanted, lambda name: _tell(f"measuring {name}"))
    typer.echo(f"measuring {benchmark.NON_LOCAL_MEANS}", err=True)
    used = threads or usable_cpus()
    peer = benchmark.non_local_means(used)
    typer.echo(benchmark.as_json(figures, peer, used) if as_json else "\n".join(benchmark.as_text(figures, peer, used)))


def _check_range(name: str, value: float | None, low: float, high: int | None = None) -> None:
    if value is None or low <= value <= (math.inf if high is None else high):
        return
    raise UsageError(f"--{name} is {value}: it must be {f'{low} or more' if high is None else f'{low}..{high}'}")


def _checked_ext(ext: str | None) -> str | None:
    if ext is None:
        return None
    dotted = f".{ext.removeprefix('.').lower()}"
    if dotted not in FORMAT_OF_SUFFIX | VIDEO_FORMAT_OF_SUFFIX:
        raise UsageError(f"--ext is {ext!r}: it must be one of {_EXTENSIONS}, {_CONTAINERS}")
    return dotted
