"""The folder that a run leaves: `model.pt`, `metrics.csv`, `curves.png`, `samples/`, `config.toml`, `last.ckpt`."""

import csv
import time
from pathlib import Path
from typing import Any

import tomli_w
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cae_shared.signals import listen_again
from cae_shared.temporary import remove_old, whole_file
from cae_train.checkpoint import save_model
from cae_train.config import TrainConfig
from cae_train.degradations.mask import holes
from cae_train.sheets.curves import COLUMNS, STAGE, draw_curves, further_columns, import_plotting
from cae_train.sheets.preview import sheet, write_png
from cae_train.training.module import Training
from cae_train.training.optimization.ema import Ema
from cae_train.training.run_files import CONFIG, CURVES, METRICS, MODEL, SAMPLES

SHEET_PATCHES, SHEET_SAMPLES = 8, 12
DRAWING_SHARE = 0.1  # of the time at most, for curves before the end
FIGURES = {"train_loss", "train_psnr", "loss", "psnr"}  # that every run has


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
        self.restored: float | None = None  # the best PSNR before a resumed run, if its checkpoint has it
        self.began = 0.0
        self.saved = False  # whether `model.pt` is this run's own
        self.drawn = 0  # number of epochs in `curves.png`
        self.draw_after = float("-inf")  # seconds of the clock

    def state_dict(self) -> dict[str, Any]:
        """Return the best PSNR for the checkpoint, exactly: the table has rounded figures."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best PSNR; checkpoints of earlier versions lack it, and the table is read instead."""
        self.restored = float(state_dict["best"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Every process takes the folder that the first one made."""
        self.out = trainer.strategy.broadcast(self.out)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the settings; on a resumed run read back the epochs that the checkpoint knows."""
        self.began = time.monotonic()
        if trainer.world_size > 1:
            listen_again()  # Lightning's way with SIGTERM waits for the other processes
        if not trainer.is_global_zero:
            return
        import_plotting()
        (self.out / SAMPLES).mkdir(parents=True, exist_ok=True)
        write_config(self.out / CONFIG, self.config)
        for place in (self.out, self.out / SAMPLES):
            remove_old(place, (self.out / CONFIG).stat().st_mtime)
        table = self.out / METRICS
        if trainer.current_epoch and table.is_file():
            with table.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]
        if self.rows:
            self.began -= float(self.rows[-1]["seconds"])
            last = self.rows[-1].get(STAGE)
            in_table = max(float(row["val_psnr"]) for row in self.rows if row.get(STAGE) == last)
            self.best = in_table if self.restored is None else self.restored
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
        self._draw(time.monotonic() >= self.draw_after)
        degraded, clean = (batch[:SHEET_PATCHES] for batch in training.held_out)
        mask = holes(degraded) & (degraded != clean).any(1, keepdim=True) if training.material.leaves_holes else None
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
                "evaluated_on": training.material.evaluated_on,
                "epoch": epoch,
            }
            save_model(self.out / MODEL, training.net, self.config, metrics)
            self.saved = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the last epochs."""
        self._draw(trainer.is_global_zero)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a usable model also when the run is stopped before its first epoch ends."""
        listen_again()  # Lightning ignores Ctrl-C from here on: a second one must end whatever hangs
        training: Training = pl_module  # type: ignore[assignment]
        if isinstance(exception, (KeyboardInterrupt, SystemExit)):  # Lightning makes a SystemExit of SIGTERM
            self.keep(trainer, training)
        self._draw(trainer.is_global_zero and not isinstance(exception, OSError))  # which may be of a full disk

    def keep(self, trainer: Trainer, training: Training) -> None:
        """Save the current weights if no epoch has ended."""
        if trainer.is_global_zero and not self.saved:
            averages = [callback for callback in trainer.callbacks if isinstance(callback, Ema)]  # type: ignore[attr-defined]
            network = averages[0].network(training.net) if averages else training.net
            save_model(self.out / MODEL, network, self.config, {})
            self.saved = True

    def _draw(self, wanted: bool) -> None:
        """Draw the curves, if that is wanted and there are epochs that they lack."""
        if not wanted or self.drawn == len(self.rows):
            return
        began = time.monotonic()
        draw_curves(self.out / CURVES, self.rows)
        self.drawn, ended = len(self.rows), time.monotonic()
        self.draw_after = ended + (ended - began) / DRAWING_SHARE

    def _write_table(self) -> None:
        with whole_file(self.out / METRICS) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *further_columns(self.rows)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)


def write_config(path: Path, config: TrainConfig) -> None:
    """Write the settings as the TOML that `--config` takes."""
    with whole_file(path) as partial:
        partial.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")
