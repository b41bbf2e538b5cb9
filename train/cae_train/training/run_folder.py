"""The folder that a run leaves: `model.pt`, `metrics.csv`, `curves.png`, `samples/`, `config.toml`, `last.ckpt`."""

import csv
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cae_shared.signals import listen_again
from cae_train.checkpoint import save_model
from cae_train.config import TrainConfig
from cae_train.degradations.mask import holes
from cae_train.errors import CheckpointError
from cae_train.files import whole
from cae_train.sheets.preview import sheet, write_png
from cae_train.training.ema import Ema

if TYPE_CHECKING:
    from cae_train.training.loop import Training

MODEL, CHECKPOINT, METRICS, CURVES, CONFIG, SAMPLES = (
    "model.pt", "last.ckpt", "metrics.csv", "curves.png", "config.toml", "samples"
)  # fmt: skip
COLUMNS = ("epoch", "train_loss", "val_loss", "train_psnr", "val_psnr", "noisy_psnr", "lr", "seconds")
STAGE = "stage"  # a column of networks that are trained in stages; their further figures have columns too
SHEET_PATCHES, SHEET_SAMPLES = 8, 12
FIGURES = {"train_loss", "train_psnr", "loss", "psnr"}  # that every run has
TITLES = {"active": "share of active units of the code", "kl": "KL of the code (nats a patch)"}
UNCORRUPTED = 58.0  # dB: input that is its own target


def check(out: Path) -> None:
    """Refuse what names no folder to make.

    Raises:
        CheckpointError: the current folder or one above.
    """
    if out.name in ("", ".."):
        raise CheckpointError(f"--out {str(out)!r} names no new folder: give one a name, such as runs/train/mine")


def create(out: Path) -> Path:
    """Make a run folder; a name that is taken becomes NAME-2, NAME-3, ...

    Raises:
        CheckpointError: it cannot be made.
    """
    check(out)
    folder, count = out, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            count += 1
            folder = out.with_name(f"{out.name}-{count}")
        except OSError as e:
            raise CheckpointError(f"--out {folder} cannot be made: {e.strerror or e}") from e


class RunFolder(Callback):
    """Writes the run folder, an epoch at a time.

    It stands before the moving average in Lightning's list, so that at the end of a validation the module still has
    the averaged weights: the sheet and `model.pt` show what is shipped. `model.pt` is the best epoch by PSNR, of the
    last stage where a network is trained in stages.
    """

    def __init__(self, out: Path, config: TrainConfig) -> None:
        self.out, self.config = out, config
        self.rows: list[dict[str, str]] = []
        self.best = float("-inf")
        self.began = 0.0
        self.saved = False  # whether `model.pt` is this run's own

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Every process takes the folder that the first one made."""
        self.out = trainer.strategy.broadcast(self.out)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the settings; on a resumed run read back the epochs that the checkpoint knows."""
        self.began = time.monotonic()
        if not trainer.is_global_zero:
            return
        (self.out / SAMPLES).mkdir(parents=True, exist_ok=True)
        write_config(self.out / CONFIG, self.config)
        table = self.out / METRICS
        if trainer.current_epoch and table.is_file():
            with table.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]
        if self.rows:
            self.began -= float(self.rows[-1]["seconds"])
            last = self.rows[-1].get(STAGE)
            self.best = max(float(row["val_psnr"]) for row in self.rows if row.get(STAGE) == last)
            self.saved = (self.out / MODEL).is_file()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Row, curves, sheet, and the model if it is the best so far."""
        training: Training = pl_module  # type: ignore[assignment]
        figures = training.take_figures()
        epoch = trainer.current_epoch + 1
        values = {
            "train_loss": figures["train_loss"],
            "val_loss": figures["loss"],
            "train_psnr": figures["train_psnr"],
            "val_psnr": figures["psnr"],
            "noisy_psnr": training.psnr_in,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        values |= {name: figures[name] for name in sorted(figures.keys() - FIGURES)}
        stage = training.net.stage
        if self.rows and self.rows[-1].get(STAGE, "") != stage:
            self.best = float("-inf")
        row = {"epoch": str(epoch)} | {name: f"{value:.6g}" for name, value in values.items()}
        row |= {"seconds": f"{time.monotonic() - self.began:.1f}"} | ({STAGE: stage} if stage else {})
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        self._write_table()
        draw_curves(self.out / CURVES, self.rows)
        degraded, clean = (batch[:SHEET_PATCHES] for batch in training.held_out)
        mask = holes(degraded) & (degraded != clean).any(1, keepdim=True) if training.chain.leaves_holes else None
        with torch.inference_mode():
            restored = training.net(degraded.to(training.device)).float().cpu()
            drawn = training.net.samples(SHEET_SAMPLES, torch.Generator().manual_seed(self.config.seed))
        picture = sheet(clean, degraded, restored, mask=mask, samples=None if drawn is None else drawn.cpu())
        write_png(self.out / SAMPLES / f"epoch-{epoch:03d}.png", picture)
        if figures["psnr"] > self.best:
            self.best = figures["psnr"]
            metrics = {
                "psnr_in": training.psnr_in,
                "psnr_out": figures["psnr"],
                "evaluated_on": training.evaluated_on,
                "epoch": epoch,
            }
            save_model(self.out / MODEL, training.net, self.config, metrics)
            self.saved = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a usable model also when the run is stopped before its first epoch ends."""
        listen_again()  # Lightning ignores Ctrl-C from here on: a second one must end whatever hangs
        training: Training = pl_module  # type: ignore[assignment]
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit))  # Lightning makes a SystemExit of SIGTERM
        if stopped and trainer.is_global_zero and not self.saved:
            averages = [callback for callback in trainer.callbacks if isinstance(callback, Ema)]  # type: ignore[attr-defined]
            network = averages[0].network(training.net) if averages else training.net
            save_model(self.out / MODEL, network, self.config, {})

    def _write_table(self) -> None:
        with whole(self.out / METRICS) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *further_columns(self.rows)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)


def further_columns(rows: list[dict[str, str]]) -> list[str]:
    """Columns of figures that not every run has; rows from before an upgrade may lack them."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS))


def write_config(path: Path, config: TrainConfig) -> None:
    """Write the settings as the TOML that `--config` takes."""
    with whole(path) as partial:
        partial.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")


def draw_curves(path: Path, rows: list[dict[str, str]]) -> None:
    """Training and validation loss and PSNR over the epochs, so that overfitting shows; stages, and further figures.

    No line joins two stages: their losses are of different things.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    further = [name for name in further_columns(rows) if name != STAGE]
    titles = {"loss": "loss", "psnr": "PSNR (dB)"} | {name: TITLES.get(name, name) for name in further}
    stages = [list(part) for _, part in itertools.groupby(rows, key=lambda row: row.get(STAGE))]
    first, last = int(rows[0]["epoch"]) - 0.5, int(rows[-1]["epoch"]) + 0.5
    marker = "o" if len(rows) < 30 else None
    figure = Figure(figsize=(5 * len(titles), 4), layout="constrained")
    axes = figure.subplots(1, len(titles))
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        parts = {f"train_{name}": "training", f"val_{name}": "validation"} if name in ("loss", "psnr") else {name: ""}
        for column, label in parts.items():
            epochs, values = _broken(stages, "epoch"), _broken(stages, column)
            axis.plot(epochs, values, label=label, marker=marker, ms=3)
        if name == "psnr" and float(rows[-1]["noisy_psnr"]) < UNCORRUPTED:
            axis.axhline(float(rows[-1]["noisy_psnr"]), color="grey", ls=":", label="corrupted input")
        axis.set(xlabel="epoch", title=title, xlim=(first, last))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if STAGE in rows[-1]:
            begins = [int(stage[0]["epoch"]) - 0.5 for stage in stages]
            for begin in begins[1:]:
                axis.axvline(begin, color="grey", lw=0.8)
            middles = [(begin + end) / 2 for begin, end in itertools.pairwise([*begins, last])]
            above = axis.secondary_xaxis("top")
            above.set_xticks(middles, [stage[0].get(STAGE, "") for stage in stages], fontsize=8)
            above.tick_params(length=0)
        if "" not in parts.values():
            axis.legend()
    with whole(path) as partial:
        figure.savefig(partial, dpi=100, format="png")


def _broken(stages: list[list[dict[str, str]]], column: str) -> list[float]:
    """A column's values, with a gap (NaN) after each stage."""
    return [value for rows in stages for value in (*(float(row.get(column) or "nan") for row in rows), float("nan"))]
