"""`cae-train`: parse, call, report."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cae_shared.command import require_address_space
from cae_shared.help_groups import grouped
from cae_shared.signals import interruptible
from cae_shared.text import printable, shell_word, with_option
from cae_train.config import AUTO, LOSSES, OPTIMIZERS, PRECISIONS, Hardware, TrainConfig, load_toml, model_options
from cae_train.errors import CaeTrainError, CheckpointError, ConfigError, TrainingError

INSTALL = "cae-train needs its extra: pip install 'cae-toolkit[train]' (in a checkout: pip install -e '.[train]')"
DEFAULTS = TrainConfig()
ADDRESS_SPACE = 2 * 2**30  # bytes that torch maps before it works; with less it crashes

GROUPS = {
    "Data": ("data", "data_dir", "channels", "scales", "degrain", "jitter", "gray", "upright"),
    "Degradation": ("degrade", "clip", "preview_degradation", "save_pairs", "max_pairs"),
    "Network": ("arch", "model", "start", "vgg16_weights", "quantize_aware"),
    "Training": (
        "loss", "epochs", "epoch_crops", "batch", "optimizer", "lr", "weight_decay", "warmup", "ema", "grad_clip",
        "patience", "precision", "seed",
    ),
    "Run": ("config", "out", "resume"),
    "Your own camera": ("burst", "noise_from", "camera", "frames", "minutes", "export"),
    "Hardware": ("accelerator", "devices", "strategy", "workers", "data_on", "compile"),
}  # fmt: skip

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-train {version('cae-toolkit')}")
        raise typer.Exit


def _option(help_text: str, default: object = None, names: tuple[str, ...] = (), **settings: Any) -> Any:
    """An option whose default lives in TrainConfig, so that a --config file can stand between the two."""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return typer.Option(*names, help=help_text + (f" [default: {shown}]" if default is not None else ""), **settings)


@app.command(cls=grouped(TyperCommand, GROUPS))
def command(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        _option(
            "cifar10, mnist, fashion-mnist, synthetic, or a folder of photographs. Repeat to mix several.",
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
        float | None, _option("Share of the patches whose own grain is removed first.", DEFAULTS.degrain)
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
            "--upright/--no-upright", help="Do not flip or rotate patches; for images of one orientation. [default: no]"
        ),
    ] = None,
    clip: Annotated[
        bool | None,
        typer.Option("--clip/--no-clip", help="Clip and round degraded patches to 8 bits. [default: clip]"),
    ] = None,
    loss: Annotated[str | None, _option(f"auto (the network's own), {', '.join(LOSSES)}.", DEFAULTS.loss)] = None,
    epochs: Annotated[int | None, _option("Passes over the data.", DEFAULTS.epochs)] = None,
    epoch_crops: Annotated[int | None, _option("Random crops per epoch of a folder.", DEFAULTS.epoch_crops)] = None,
    batch: Annotated[int | None, _option("Patches per step.", DEFAULTS.batch)] = None,
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
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder with its own settings.")] = None,
    save_pairs: Annotated[
        Path | None,
        typer.Option(help="First write clean and degraded patches as pairs of PNGs into this new folder."),
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
    max_pairs: Annotated[int, typer.Option(help="Maximum number of pairs of each part (--save-pairs).", min=1)] = 1000,
    accelerator: Annotated[str, typer.Option(help="Passed to Lightning: auto, cpu, gpu, mps, tpu.")] = "auto",
    devices: Annotated[str, typer.Option(help="Passed to Lightning: auto, a count, or a list such as 0,1.")] = "auto",
    strategy: Annotated[str, typer.Option(help="Passed to Lightning: auto, ddp, fsdp, ...")] = "auto",
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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train a convolutional autoencoder on pairs of degraded and clean 32x32 patches.

    Without options: --data cifar10 --arch skip --degrade gaussian:25. With --epochs 0 and --save-pairs, only the pairs
    are written.

    Exit codes: 0 done; 1 training failed, or memory, disk space or open files ran out; 2 wrong usage or data; 130
    interrupted (Ctrl-C; model.pt is kept); 143 terminated (SIGTERM).
    """
    options = {name: value for name, value in context.params.items() if value not in (None, [], ())}
    given = {item.name: options[item.name] for item in fields(TrainConfig) if item.name in options}
    if show_list:
        _list()
        return
    require_address_space(ADDRESS_SPACE)
    hardware = Hardware(accelerator, devices, strategy, workers, data_on, compile)
    said = {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    if burst or noise_from is not None:
        with interruptible():
            _fit_camera(said, given, (burst or [], noise_from, camera, frames, minutes, export), hardware, config, out)
        return
    for name in OF_A_CAMERA:
        if name in said:
            raise ConfigError(f"--{name} goes with --burst or --noise-from")
    if preview_degradation is not None:
        _check_preview(preview_degradation, {"--resume": resume, "--save-pairs": save_pairs})
    if resume is not None:
        extra = [name for name, value in {**given, "config": config, "out": out}.items() if value is not None]
        if extra:
            raise ConfigError(
                f"--resume continues a run with its own settings: leave out --{extra[0].replace('_', '-')} "
                "(a new run begins from its weights with --start)"
            )
        if not (resume / "config.toml").is_file():
            raise CheckpointError(f"--resume {resume} is not a run folder: it has no config.toml")
        settings = TrainConfig.from_dict(load_toml(resume / "config.toml"))
        if settings.noise:
            raise ConfigError(
                f"--resume {resume}: a model for a camera is fitted in one go, with --burst or --noise-from"
            )
    else:
        written = load_toml(config) if config else {}
        if model or given.get("arch") is not None:
            given["model"] = model_options(written, given, model or [])
        if given.get("arch", "vgg16") != "vgg16" and vgg16_weights is None:
            written.pop("vgg16_weights", None)
        settings = TrainConfig.from_dict(written | given)
    if preview_degradation is not None:
        _preview(settings, preview_degradation)
        return
    if settings.epochs == 0 and save_pairs is None:
        raise ConfigError("--epochs is 0: 1 or more are needed, except with --save-pairs")
    with interruptible():
        _run(settings, hardware, out, resume, save_pairs, max_pairs)


OF_A_CAMERA = ("camera", "frames", "minutes", "export")  # with --burst or --noise-from alone
NOT_OF_A_CAMERA = (
    "resume", "save_pairs", "preview_degradation", "degrade", "arch", "model", "epoch_crops", "channels", "data_on",
)  # fmt: skip


def _fit_camera(
    said: set[str],
    given: dict[str, Any],
    wanted: tuple[Any, ...],
    hardware: Hardware,
    config: Path | None,
    out: Path | None,
) -> None:
    for name in NOT_OF_A_CAMERA:
        if name in said:
            raise ConfigError(f"--burst and --noise-from decide themselves on --{name.replace('_', '-')}: leave it out")
    try:
        from cae_train.burst import command
    except ModuleNotFoundError as e:
        raise _missing(e) from e
    if command.run(command.Wanted(*wanted), (load_toml(config) if config else {}) | given, hardware, out):
        raise typer.Exit(130)


def _list() -> None:
    try:
        from cae_train.choices import listing
    except ModuleNotFoundError as e:
        raise _missing(e) from e
    for line in listing():
        typer.echo(line)


def _check_preview(path: Path, others: dict[str, Path | None]) -> None:
    for option, value in others.items():
        if value is not None:
            raise ConfigError(f"--preview-degradation draws a sheet and stops: leave out {option}")
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--preview-degradation {path}: a sheet is a PNG, give it a name that ends in .png")


def _preview(settings: TrainConfig, path: Path) -> None:
    try:
        from cae_train.data import images
        from cae_train.degradations.registry import chain_of
        from cae_train.sheets.degradation_sheet import save_sheet
        from cae_train.stderr import quiet_decoders
    except ModuleNotFoundError as e:
        raise _missing(e) from e
    chain_of(settings)  # before data are read or downloaded
    with quiet_decoders():
        split = images.load(settings)
    for note in split.notes:
        typer.echo(printable(f"note: {note}"), err=True)
    count = save_sheet(split, settings, path)
    typer.echo(printable(f"wrote {path}: {count} patches, {' + '.join(settings.degrade)}"), err=True)


def _missing(error: ModuleNotFoundError) -> Exception:
    """The message about a missing module: install the extra, unless it is a bug of ours."""
    if (error.name or "").startswith("cae_"):
        return error
    return ConfigError(f"{INSTALL} ({error.name} is missing)")


def _run(
    settings: TrainConfig, hardware: Hardware, out: Path | None, resume: Path | None, pairs: Path | None, max_pairs: int
) -> None:
    try:
        from cae_train import models
        from cae_train.data import images
        from cae_train.degradations.registry import chain_of
        from cae_train.sheets.save_pairs import save_pairs
        from cae_train.stderr import quiet_decoders
        from cae_train.training import loop, run_files, start_weights, trainer
        from cae_train.training.progress import ProgressLines
    except ModuleNotFoundError as e:
        raise _missing(e) from e
    from rich.console import Console

    # All that can be wrong is found before data are read, downloaded or written.
    wanted = resume or out or Path("runs/train") / settings.arch
    if resume is None:
        run_files.check(wanted)
    chain_of(settings)
    cost = models.multiply_adds_per_pixel(models.build(settings.arch, settings.model, images.channels_of(settings)))
    with trainer.quiet_lightning():
        lightning = trainer.make_trainer(settings, Path(), hardware, [])
    # With --epochs 0 nothing is trained: no weights are looked for.
    network = start_weights.initial_network(settings, resume is not None or not settings.epochs)
    trainer.refuse_processes(lightning, network)
    leader = os.environ.get("LOCAL_RANK", "0") == "0"
    console = Console(stderr=True, quiet=not leader)

    def say(text: str) -> None:
        console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    with quiet_decoders():
        split = images.load(settings)
    for note in split.notes:
        say(f"note: {note}")
    if pairs is not None and leader:
        say(f"wrote {save_pairs(split, settings, pairs, max_pairs)} pairs to {pairs}")
        if settings.epochs == 0:
            return
    folder = run_files.create(wanted) if resume is None and leader else wanted
    say(
        f"{settings.arch}: {models.weight_count(network):,} weights, "
        f"{cost / 1000:.1f} KMAC/px; "
        f"{len(split.train):,} images, {len(split.validation):,} held out; {' + '.join(settings.degrade)} -> {folder}"
    )
    result = loop.train(
        settings,
        folder,
        hardware=hardware,
        resume=resume is not None,
        callbacks=[ProgressLines(console)],
        split=split,
        network=network,
    )
    if result.psnr_in is not None and result.psnr_out is not None:
        if settings.degrade == ("none",):
            say(f"{result.evaluated_on}: reconstructed at {result.psnr_out:.2f} dB")
        else:
            say(f"{result.evaluated_on}: degraded {result.psnr_in:.2f} dB, restored {result.psnr_out:.2f} dB")
            if result.psnr_out < result.psnr_in:
                say("note: its output is worse than its input: a wider code, more epochs or another --loss may help")
    if result.interrupted:
        resumable = (folder / run_files.CHECKPOINT).is_file()  # from the first epoch's end on
        go_on = f"; go on with cae-train --resume {shell_word(folder)}" if resumable else ""
        say(f"interrupted: {result.model} can be used{go_on}")
        raise typer.Exit(130)
    say(f"next: cae-export {shell_word(result.model)}")


def main() -> None:
    """The console script: every expected error in one line on stderr, with its exit code."""
    try:
        app(standalone_mode=True)
    except TrainingError as e:
        _fail(e, 1)
    except CaeTrainError as e:
        _fail(e, 2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    names = {parameter.name or "" for parameter in typer.main.get_command(app).params}
    sys.stderr.write(f"{printable(f'cae-train: {with_option(str(error), names)}')}\n")
    sys.exit(code)
