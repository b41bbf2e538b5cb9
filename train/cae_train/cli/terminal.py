"""Runs a training or a preview of degradations, and prints progress and results."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cae_shared.text import counted, printable, shell_word
from cae_train.config import Hardware, TrainConfig
from cae_train.data.images import Split, load
from cae_train.degradations.registry import chain_of
from cae_train.errors import DataNotFoundError
from cae_train.models import weight_count
from cae_train.sheets.degradation_sheet import save_sheet
from cae_train.sheets.save_pairs import save_pairs
from cae_train.stderr import quiet_decoders
from cae_train.training import loop, run_files
from cae_train.training.material import Material
from cae_train.training.prepare import Prepared, prepare
from cae_train.training.progress import ProgressLines


@dataclass(frozen=True)
class Folders:
    """The folders of a run.

    Attributes:
        out: its folder; None takes one that is named after the network.
        resume: the folder of a run that is continued.
        pairs: the folder that pairs are written to first.
        max_pairs: how many of the training and of the validation part each.
    """

    out: Path | None = None
    resume: Path | None = None
    pairs: Path | None = None
    max_pairs: int = 1000


def train(settings: TrainConfig, hardware: Hardware, folders: Folders) -> bool:
    """Train and print the result; return whether a signal ended it.

    Raises:
        CaeTrainError: see `prepare`, `load` and `loop.run`.
    """
    wanted = folders.resume or folders.out or Path("runs/train") / settings.arch
    if folders.resume is None:
        run_files.check(wanted)
    prepared = prepare(settings, hardware, resume=folders.resume)
    leader = prepared.trainer.is_global_zero
    console = Console(stderr=True, quiet=not leader)
    try:
        split = _loaded(settings, console)
    except DataNotFoundError as e:
        if folders.resume is None:
            raise
        raise DataNotFoundError(f"{e}. If the data of this run were moved, name where they are now, with --data") from e
    if folders.pairs is not None:
        if leader:
            count = save_pairs(split, prepared.chain, settings.seed, folders.pairs, folders.max_pairs)
            _say(console, f"wrote {counted(count, 'pair')} to {folders.pairs}")
        if settings.epochs == 0:
            return False
    folder = run_files.create(wanted) if folders.resume is None and leader else wanted
    _say(console, f"{_described(prepared, split)} -> {folder}")
    if folders.resume is not None and run_files.epochs_done(folder) >= settings.epochs:
        _say(
            console,
            f"note: all {settings.epochs} epochs of this run are done; cae-train --start "
            f"{shell_word(folder / run_files.MODEL)} begins a new run from its weights",
        )
    material = Material.of(settings, split, prepared.chain)
    result = loop.run(prepared, material, folder, [ProgressLines(console)])
    _say_result(console, result, settings)
    if result.interrupted:
        resumable = (folder / run_files.CHECKPOINT).is_file()  # from the first epoch's end on
        go_on = f"; go on with cae-train --resume {shell_word(folder)}" if resumable else ", but no epoch was finished"
        _say(console, f"interrupted: {result.model} can be used{go_on}")
    else:
        _say(console, f"next: cae-export {shell_word(result.model)}")
    return result.interrupted


def preview(settings: TrainConfig, path: Path) -> None:
    """Draw what the degradations do to patches of the data into a PNG.

    Raises:
        CaeTrainError: settings or data that cannot be used, or a file that cannot be written.
    """
    console = Console(stderr=True)
    chain = chain_of(settings)  # before data are read or downloaded
    split = _loaded(settings, console)
    count = save_sheet(split, settings, chain, path)
    _say(console, f"wrote {path}: {count} patches, {' + '.join(settings.degrade)}")


def _loaded(settings: TrainConfig, console: Console) -> Split:
    with quiet_decoders():
        split = load(settings)
    for note in split.notes:
        _say(console, f"note: {note}")
    return split


def _described(prepared: Prepared, split: Split) -> str:
    """Describe a run in one line."""
    config = prepared.config
    return (
        f"{config.arch}: {weight_count(prepared.network):,} weights, {prepared.multiply_adds / 1000:.1f} KMAC/px; "
        f"{len(split.train):,} images, {len(split.validation):,} held out; {' + '.join(config.degrade)}"
    )


def _say_result(console: Console, result: loop.TrainResult, settings: TrainConfig) -> None:
    if result.psnr_in is None or result.psnr_out is None:
        return
    if settings.degrade == ("none",):
        _say(console, f"{result.evaluated_on}: reconstructed at {result.psnr_out:.2f} dB")
        return
    _say(console, f"{result.evaluated_on}: degraded {result.psnr_in:.2f} dB, restored {result.psnr_out:.2f} dB")
    if result.psnr_out < result.psnr_in:
        _say(console, "note: its output is worse than its input: a wider code, more epochs or another --loss may help")


def _say(console: Console, text: str) -> None:
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
