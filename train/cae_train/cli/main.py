"""`cae-train`: parse, call, report."""

import sys
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cae_shared.command import require_address_space
from cae_shared.expected_errors import end_with, ended_in_order, importing_extra
from cae_shared.help_groups import grouped
from cae_shared.logs import log_to_stderr
from cae_shared.signals import end_now, exit_code
from cae_shared.text import options_of
from cae_train.cli.given_settings import check_preview, new_settings, refuse_addresses, settings_of_run
from cae_train.cli.option_groups import GROUPS as GROUPS
from cae_train.config import AUTO, LOSSES, OPTIMIZERS, PRECISIONS, STRATEGIES, Hardware, TrainConfig, load_toml
from cae_train.errors import CaeTrainError, ConfigError, LostProcessError, TrainingError
from cae_train.failure_report import is_helper, is_shared, may_report

DEFAULTS = TrainConfig()
ADDRESS_SPACE = 2 * 2**30  # bytes that torch maps before it works; with less it crashes

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-train {version('cae-toolkit')}")
        raise typer.Exit


def _option(help_text: str, default: object = None, names: tuple[str, ...] = (), **settings: Any) -> Any:
    """An option whose default is in TrainConfig, so that a --config file can override it."""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return typer.Option(*names, help=help_text + (f" [default: {shown}]" if default is not None else ""), **settings)


@app.command(cls=grouped(TyperCommand, GROUPS))
def command(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        _option(
            "cifar10, mnist, fashion-mnist, patterns, swatches, synthetic, or a folder of photographs. Repeat to mix "
            "several.",
            DEFAULTS.data,
        ),
    ] = None,
    data_dir: Annotated[
        str | None, _option("Folder of named data sets; missing ones are downloaded.", DEFAULTS.data_dir)
    ] = None,
    channels: Annotated[int | None, _option("1 (gray), 3 (RGB) or 0 (as the data).", DEFAULTS.channels)] = None,
    arch: Annotated[str | None, _option("Network; --list shows all.", DEFAULTS.arch)] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the network; --list shows all. Repeat for more."),
    ] = None,
    vgg16_weights: Annotated[
        str | None,
        _option("File with torchvision's VGG16 weights. Default: from --data-dir, downloaded if missing."),
    ] = None,
    start: Annotated[str | None, _option("Start from the weights in this model.pt or state_dict file.")] = None,
    teacher: Annotated[
        str | None, _option("Also learn from the results of this model.pt, for example with --quantize-aware.")
    ] = None,
    quantize_aware: Annotated[
        bool | None,
        typer.Option(
            "--quantize-aware/--no-quantize-aware", help="Simulate int8 rounding while training. [default: no]"
        ),
    ] = None,
    degrade: Annotated[
        list[str] | None,
        _option(
            "NAME:LEVEL or NAME:LOW-HIGH, such as gaussian:25 or jpeg:10-80; --list shows all. Each patch draws one of "
            "several separated by commas. Repeat to apply several in sequence.",
            DEFAULTS.degrade,
        ),
    ] = None,
    scales: Annotated[
        int | None, _option("Number of sizes per photograph: its own, 3/4 of it, 3/4 of that ...", DEFAULTS.scales)
    ] = None,
    degrain: Annotated[
        float | None,
        _option("Share of the patches from which the photograph's own grain is removed first.", DEFAULTS.degrain),
    ] = None,
    jitter: Annotated[float | None, _option("Share of the patches whose colors are changed.", DEFAULTS.jitter)] = None,
    gray: Annotated[
        float | None,
        _option(
            "Share of the patches that are made gray, including their noise.", DEFAULTS.gray, names=("--gray", "--grey")
        ),
    ] = None,
    upright: Annotated[
        bool | None,
        typer.Option(
            "--upright/--no-upright",
            help="Do not flip or rotate patches, for images that share one orientation. [default: no]",
        ),
    ] = None,
    clip: Annotated[
        bool | None,
        typer.Option("--clip/--no-clip", help="Clip and round degraded patches to 8 bits. [default: clip]"),
    ] = None,
    loss: Annotated[str | None, _option(f"auto (the network's own), {', '.join(LOSSES)}.", DEFAULTS.loss)] = None,
    epochs: Annotated[int | None, _option("Passes over the data.", DEFAULTS.epochs)] = None,
    epoch_crops: Annotated[
        int | None, _option("Random crops per epoch, for folders of photographs.", DEFAULTS.epoch_crops)
    ] = None,
    batch: Annotated[int | None, _option("Patches per step, of all devices together.", DEFAULTS.batch)] = None,
    optimizer: Annotated[str | None, _option(f"{', '.join(OPTIMIZERS)}.", DEFAULTS.optimizer)] = None,
    lr: Annotated[float | None, _option("Peak learning rate.", DEFAULTS.lr)] = None,
    weight_decay: Annotated[float | None, _option("Decoupled weight decay.", DEFAULTS.weight_decay)] = None,
    warmup: Annotated[
        float | None, _option("Share of all steps used for the learning rate warm-up.", DEFAULTS.warmup)
    ] = None,
    ema: Annotated[
        float | None, _option("Decay of the moving average of the weights; 0 turns it off.", DEFAULTS.ema)
    ] = None,
    grad_clip: Annotated[float | None, _option("Maximum norm of the gradient.", DEFAULTS.grad_clip)] = None,
    patience: Annotated[
        int | None, _option("Stop after this many epochs without a better PSNR; 0: never.", DEFAULTS.patience)
    ] = None,
    precision: Annotated[
        str | None,
        _option(f"{', '.join(PRECISIONS)}; auto takes bf16 if the hardware supports it.", DEFAULTS.precision),
    ] = None,
    seed: Annotated[int | None, _option("Random seed; makes a run repeatable.", DEFAULTS.seed)] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings as TOML, such as a run's config.toml. Options override them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; if it exists, NAME-2 is used. [default: runs/train/ARCH]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue the run in this folder with its own settings. If its data were moved, give their new "
            "place with --data."
        ),
    ] = None,
    save_pairs: Annotated[
        Path | None,
        typer.Option(help="Before training, write clean and degraded patches as pairs of PNGs into this new folder."),
    ] = None,
    preview_degradation: Annotated[
        Path | None,
        typer.Option(help="Draw patches of --data after each step of --degrade into this PNG, and stop."),
    ] = None,
    burst: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Fit a model to a camera: its number, or recordings of static scenes: a video, a folder of frames, or "
            "a folder of these. Repeat for more scenes.",
        ),
    ] = None,
    noise_from: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Fit a model to the noise of single noisy pictures."),
    ] = None,
    camera: Annotated[str, typer.Option(help="Name of the camera.")] = "",
    frames: Annotated[int, typer.Option(help="Frames per scene (--burst).")] = 60,
    minutes: Annotated[float, typer.Option(help="Total training time.")] = 7.0,
    export: Annotated[bool, typer.Option("--export", help="Run cae-export at the end.")] = False,
    max_pairs: Annotated[
        int, typer.Option(help="Maximum number of training pairs, and of held-out pairs, for --save-pairs.", min=1)
    ] = 1000,
    accelerator: Annotated[str, typer.Option(help="Passed to Lightning: auto, cpu, gpu, mps, tpu.")] = "auto",
    devices: Annotated[
        str, typer.Option(help="Devices of each machine: auto, a count, or a list such as 0,1.")
    ] = "auto",
    num_nodes: Annotated[int, typer.Option(help="Number of machines, each with the same number of devices.")] = 1,
    strategy: Annotated[str, typer.Option(help=f"How processes are synchronized: {', '.join(STRATEGIES)}.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that prepare batches; -1: automatic.")] = -1,
    data_on: Annotated[
        str,
        typer.Option(
            help="Where patches are cut and degraded: host, device (all pictures in its memory), or auto: the device "
            "if it is a CUDA GPU."
        ),
    ] = AUTO,
    compile: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Compile the training step: a minute at first, then faster steps."),
    ] = False,
    show_list: Annotated[
        bool,
        typer.Option("--list", help="List data sets, networks with their options, degradations and losses, and exit."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show details of each step.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train a convolutional autoencoder on pairs of degraded and clean 32x32 patches.

    Without options: --data cifar10 --arch skip --degrade gaussian:25. To write pairs without
    training, use --save-pairs with --epochs 0.

    Exit codes: 0 done; 1 training failed, or memory, disk space or open files ran out; 2 wrong usage or data; 130
    interrupted (Ctrl-C); 143 terminated (SIGTERM); 129 terminal closed (SIGHUP); all keep model.pt.
    """
    if not is_helper():
        log_to_stderr(verbose)
    require_address_space(ADDRESS_SPACE)
    if show_list:
        with _extra():
            from cae_train.cli.choices import listing
        typer.echo("\n".join(listing()))
        return
    refuse_addresses({"--out": out, "--save-pairs": save_pairs, "--preview-degradation": preview_degradation})
    hardware = Hardware(accelerator, devices, strategy, workers, data_on, compile, num_nodes)
    given = _settings_given(context)
    said = {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    if burst or noise_from is not None:
        wanted = (burst or [], noise_from, camera, frames, minutes, export)
        if _fit_camera(said, given, wanted, hardware, config, out):
            raise typer.Exit(exit_code())
        return
    for name in OF_A_CAMERA:
        if name in said:
            raise ConfigError(f"--{name} needs --burst or --noise-from")
    if preview_degradation is not None:
        check_preview(preview_degradation, {"--resume": resume, "--save-pairs": save_pairs})
    if resume is not None:
        extra = {**given, "vgg16_weights": vgg16_weights, "config": config, "out": out}
        settings = settings_of_run(resume, {name: value for name, value in extra.items() if value is not None})
    else:
        settings = new_settings(given, load_toml(config) if config else {}, model or [], vgg16_weights)
    if preview_degradation is None and settings.epochs == 0 and save_pairs is None:
        raise ConfigError("--epochs is 0: 1 or more are needed, except with --save-pairs")
    with _extra():
        from cae_train.cli import terminal
    if preview_degradation is not None:
        terminal.preview(settings, preview_degradation)
        return
    with ended_in_order("cae-train"):
        interrupted = terminal.train(settings, hardware, terminal.Folders(out, resume, save_pairs, max_pairs))
    if interrupted:
        raise typer.Exit(exit_code())


def _settings_given(context: typer.Context) -> dict[str, Any]:
    """The settings of a run that were given as options."""
    options = {name: value for name, value in context.params.items() if value not in (None, [], ())}
    return {item.name: options[item.name] for item in fields(TrainConfig) if item.name in options}


OF_A_CAMERA = ("camera", "frames", "minutes", "export")  # with --burst or --noise-from alone
NOT_OF_A_CAMERA = (
    "resume", "save_pairs", "preview_degradation", "degrade", "arch", "model", "epoch_crops", "channels", "data_on",
    "vgg16_weights",
)  # fmt: skip


def _fit_camera(
    said: set[str],
    given: dict[str, Any],
    wanted: tuple[Any, ...],
    hardware: Hardware,
    config: Path | None,
    out: Path | None,
) -> bool:
    """Fit a model to a camera, and return whether a signal ended it."""
    for name in NOT_OF_A_CAMERA:
        if name in said:
            raise ConfigError(f"--burst and --noise-from choose --{name.replace('_', '-')} themselves: leave it out")
    with ended_in_order("cae-train"):
        with _extra():
            from cae_train.cli import camera
        return camera.run(camera.Wanted(*wanted), (load_toml(config) if config else {}) | given, hardware, out)


def _extra() -> AbstractContextManager[None]:
    return importing_extra("cae-train", "train", ConfigError)


def main() -> None:
    """The console script: every expected error in one line on stderr, with its exit code."""
    options = options_of(typer.main.get_command(app).params)
    try:
        app(standalone_mode=True)
    except CaeTrainError as e:
        code = e.code if isinstance(e, LostProcessError) else 1 if isinstance(e, TrainingError) else 2
        try:
            if may_report():
                end_with("cae-train", e, code, options)
        finally:
            if is_shared():  # connections to the others would be waited for
                sys.stderr.flush()
                end_now(code)
        sys.exit(code)
