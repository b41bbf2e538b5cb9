"""The command `cae-run`: its options, parsed into one object."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from cae_runtime.cli.dispatch import perform
from cae_runtime.cli.options import CONTAINERS, EXTENSIONS, Options
from cae_runtime.io.formats import CODECS
from cae_runtime.io.stderr import quiet_decoders

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
        int | None, typer.Option(help="Pixels shared by neighboring patches; the model's own without it.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 leaves the image as it is, 1 cleans it fully.")] = 1.0,
    stretch: Annotated[
        bool, typer.Option(help="Stretch 16-bit images whose noise is too faint for the model before cleaning them.")
    ] = True,
    suffix: Annotated[str, typer.Option(help="Added to each name: _clean makes photo_clean.jpg.")] = "",
    ext: Annotated[
        str | None,
        typer.Option(help=f"Format of the images ({EXTENSIONS}) or videos ({CONTAINERS}); as SOURCE without it."),
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
        str | None, typer.Option(help="Fill what has this color, such as '#ff00ff'.", metavar="COLOR")
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
    typed = {name: value for name, value in locals().items() if name not in ("ctx", "_version")}
    perform(Options(_given(ctx), **typed))


def _given(ctx: typer.Context) -> frozenset[str]:
    """Names of the options and arguments that were typed."""
    sources = {name: getattr(ctx.get_parameter_source(name), "name", "") for name in ctx.params}
    return frozenset(name for name, source in sources.items() if source == "COMMANDLINE")
