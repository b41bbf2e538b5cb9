"""The command `cae-run`: its options, parsed into one object."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from cae_runtime.cli.dispatch import perform
from cae_runtime.cli.options import CONTAINERS, EXTENSIONS, LOCAL, Options
from cae_runtime.io.formats import CODECS
from cae_runtime.io.stderr import own_stderr
from cae_shared.help_groups import grouped

GROUPS = {
    "Output": ("output", "suffix", "ext", "quality", "overwrite", "watch", "as_json"),
    "Model and speed": ("model", "provider", "threads", "batch", "overlap"),
    "Cleaning": ("strength", "color_strength", "stretch", "temporal", "analyze"),
    "Videos": ("codec", "crf", "pixel_format"),
    "On a cluster": ("engine", "address", "gpus_per_worker"),
    "Before anything is written": ("view", "sheet"),
    "In the browser": ("page",),
    "Live camera": (
        "webcam", "camera", "list_cameras", "size", "fps", "target_fps", "compare", "reconnect", "virtual_camera",
        "no_window", "frames", "seconds",
    ),
    "Filling holes": ("mask", "mask_color", "invert_mask", "grow"),
    "Other tasks": ("per_patch", "projection", "generate", "seed", "latent", "between", "steps", "encoder"),
    "Anomalies": (
        "false_alarms", "threshold", "fail_on_anomaly", "bad", "roi", "raw_maps", "defect_masks",
    ),
    "This machine": ("doctor", "benchmark"),
}  # fmt: skip

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command and exit with its code."""
    gc.disable()  # until everything is imported: imports create no garbage
    try:
        with own_stderr():
            app(prog_name="cae-run")
    finally:
        gc.freeze()  # the process ends anyway: collecting cycles would take 20 ms


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-run {version('cae-toolkit')}")
        raise typer.Exit


@app.command(cls=grouped(TyperCommand, GROUPS))
def run(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", show_default=False, help="Images, videos and folders; - is stdin."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Output folder, or file for a single SOURCE; - is stdout."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Packaged model (denoise; denoise-fast for videos and large folders; denoise-best for single "
            "photographs, slower; each with -int8: quicker on x86 CPUs; fill; cae) or .onnx file. Default: denoise; "
            "live, the best one that is fast enough; with --mask and --mask-color, fill.",
        ),
    ] = None,
    provider: Annotated[
        str, typer.Option(help="Execution provider: auto, cpu, cuda, cuda:1, tensorrt, openvino, coreml, ...")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU provider. Default: one per CPU.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Patches per call of the model. Default: 32 of 32x32 pixels.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that neighboring patches share. Default: the model's recommendation.")
    ] = None,
    strength: Annotated[float, typer.Option(help="From 0 (no change) to 1 (fully cleaned).")] = 1.0,
    color_strength: Annotated[
        float | None, typer.Option(help="The same for color only. Default: the value of --strength.")
    ] = None,
    stretch: Annotated[
        bool, typer.Option(help="Scale up 16-bit images whose noise is too faint for the model.")
    ] = True,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Print the noise of images before and after cleaning; write nothing.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running, and clean files that arrive in the SOURCE folders, until Ctrl-C."),
    ] = False,
    view: Annotated[
        bool, typer.Option("--view", help="Show pictures in a window before saving; S saves to -o, H shows the keys.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Draw a contact sheet of images before and after; write nothing else.", metavar="FILE"),
    ] = None,
    suffix: Annotated[str, typer.Option(help="Append to each file name: _clean makes photo_clean.jpg.")] = "",
    ext: Annotated[
        str | None,
        typer.Option(help=f"Image format ({EXTENSIONS}) or video format ({CONTAINERS}). Default: that of SOURCE."),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            help="JPEG, WebP, AVIF and HEIC quality, 1..100. Default: 95 (HEIC: 80), or a JPEG's own if "
            "that is higher; a lossless WebP stays lossless."
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help=f"Video codec: {', '.join(CODECS)}. Default: h264 (WebM: vp9); for 10 bits, h265 (WebM: av1)."
        ),
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Video quality, lower is better: 0..51, vp9 and av1 0..63. Default: 18 for h264.")
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            help="yuv420p plays everywhere, yuv444p keeps all color, yuv420p10le has 10 bits. Default: as SOURCE, "
            "yuv420p for RGB."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where the work is done: local (this machine), or ray (the workers of a Ray cluster).", metavar="NAME"
        ),
    ] = LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            help="Cluster for --engine ray: HOST:PORT, or auto for the one that this machine belongs to. Default: "
            "start one on this machine.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            help="GPUs of each worker; with 0.5, two share one. Default: 0; with --provider cuda, 1.", metavar="N"
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="Fill the white parts of this mask: one image for all SOURCEs, or a folder with one for each.",
            metavar="PATH",
        ),
    ] = None,
    mask_color: Annotated[
        str | None, typer.Option(help="Fill pixels of this color, such as '#ff00ff'.", metavar="COLOR")
    ] = None,
    invert_mask: Annotated[
        bool,
        typer.Option(
            "--invert-mask",
            help="Fill everything except what --mask marks; of a mask with transparency, the transparent part.",
        ),
    ] = False,
    grow: Annotated[
        int, typer.Option(help="Also fill this many pixels around the marked parts: 0..100.", metavar="PIXELS")
    ] = 0,
    per_patch: Annotated[
        bool, typer.Option("--per-patch", help="Write one row of features per patch instead of one per image.")
    ] = False,
    projection: Annotated[
        str | None,
        typer.Option(
            help="Method for the map of -o FILE.png: pca (default), or tsne, which needs scikit-learn.",
            metavar="NAME",
        ),
    ] = None,
    generate: Annotated[int | None, typer.Option(help="Generate this many pictures.", metavar="N")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for --generate.")] = None,
    latent: Annotated[
        Path | None,
        typer.Option(help="Generate pictures from the codes in this .npy file or .npz table.", metavar="FILE"),
    ] = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Generate a transition between the codes of two pictures.", metavar="FILE FILE"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of pictures for --between, including both ends. Default: 8.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Encoder for --between. Default: model-encoder.onnx beside -m model-decoder.onnx.", metavar="FILE"
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(help="Share of good pictures that may count as anomalies. Default: the model's own.", metavar="R"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Pictures with a higher score are anomalies.", metavar="SCORE")
    ] = None,
    fail_on_anomaly: Annotated[
        bool, typer.Option("--fail-on-anomaly", help="Exit with code 4 if there is an anomaly.")
    ] = False,
    bad: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pictures known to be bad; the report says how well they are found.", metavar="FOLDER"
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(help="Score only the white part of this mask, which applies to all pictures.", metavar="MASK"),
    ] = None,
    raw_maps: Annotated[
        bool, typer.Option("--raw-maps", help="Also write the scores of the pixels: part_scores.tiff, float32.")
    ] = False,
    defect_masks: Annotated[
        bool, typer.Option("--defect-masks", help="Also write masks of the unusual pixels: part_mask.png.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs instead of skipping them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    webcam: Annotated[
        bool, typer.Option("--webcam", help="Clean a camera's picture live in a window. H shows the keys.")
    ] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Camera number, /dev/videoN, video file or address; implies --webcam. Default: the first camera.",
            metavar="CAMERA",
        ),
    ] = None,
    list_cameras: Annotated[bool, typer.Option("--list-cameras", help="List the cameras.")] = False,
    size: Annotated[
        str | None, typer.Option(help="Frame size to request from the camera, such as 1280x720.", metavar="WxH")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second to request from the camera.")] = None,
    target_fps: Annotated[
        float | None, typer.Option(help="Hold this frame rate by stepping down to cheaper models.")
    ] = None,
    temporal: Annotated[bool, typer.Option(help="Average static regions of cameras and videos over time.")] = True,
    compare: Annotated[bool, typer.Option("--compare", help="Start with original and result side by side.")] = False,
    reconnect: Annotated[bool, typer.Option("--reconnect", help="Reopen the camera when it stops.")] = False,
    virtual_camera: Annotated[
        bool, typer.Option("--virtual-camera", help="Offer the cleaned picture to other programs as a camera.")
    ] = False,
    no_window: Annotated[bool, typer.Option("--no-window", help="Run without a window.")] = False,
    frames: Annotated[int | None, typer.Option(help="Stop after this many frames.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this many seconds.")] = None,
    page: Annotated[
        bool,
        typer.Option("--page", help="Open the page that cleans pictures in the browser, and serve it until Ctrl-C."),
    ] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Check the installation: providers, cameras, extras.")
    ] = False,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure the speed of the models on this machine.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Print details: each step, and which execution provider runs the model and why."
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Clean noisy images, videos and live camera pictures with a small neural network.

    With --mask or --mask-color, holes are filled instead. Models of other tasks extract features (-o FILE.npz) or draw
    a map of them (-o FILE.png), find anomalies, or generate pictures (--generate); the model file declares its task.

    Exit codes: 0 all done; 1 some file failed, --doctor found a problem, or memory, disk space or open files ran out;
    2 wrong usage or unusable model; 3 provider, camera, display or cluster unavailable; 4 an anomaly, with
    --fail-on-anomaly; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM); 129 terminal closed (SIGHUP).
    """
    typed = {name: value for name, value in locals().items() if name not in ("ctx", "_version")}
    perform(Options(_given(ctx), **typed))


def _given(ctx: typer.Context) -> frozenset[str]:
    """Names of the options and arguments that were given."""
    sources = {name: getattr(ctx.get_parameter_source(name), "name", "") for name in ctx.params}
    return frozenset(name for name, source in sources.items() if source == "COMMANDLINE")
