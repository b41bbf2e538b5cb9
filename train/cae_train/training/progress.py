"""Progress of a run: a bar on terminals, and one line per epoch."""

import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from cae_train.training.module import Training

REFRESH_STEPS = 10
SHOWN = {"active": "{:.1%}", "kl": "{:.1f} nats"}  # further figures of networks, as they are written


class ProgressLines(Callback):
    """Loss, PSNR and time left: a live bar on a terminal, elsewhere a line at the start; then one line an epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  PSNR {task.fields[psnr]} dB"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.began, self.done, self.first = 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the bar."""
        if not trainer.is_global_zero:
            return
        self.began, self.first = time.monotonic(), trainer.current_epoch
        total = int(trainer.estimated_stepping_batches)
        self.task = self.bar.add_task("", total=total, completed=trainer.global_step, epoch="", loss="-", psnr="-")
        self.bar.start()
        if self.bar.disable:
            training: Training = pl_module  # type: ignore[assignment]
            patches = training.pairs.steps * training.config.batch
            self._say(f"epoch {self.first + 1} of {trainer.max_epochs} began, with {patches:,} patches")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar now and then."""
        if trainer.is_global_zero and not self.bar.disable and trainer.global_step % REFRESH_STEPS == 0:
            figures: Any = pl_module.figures
            self.bar.update(
                self.task,
                completed=trainer.global_step,
                epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                loss=f"{_own_mean(figures['train_loss']):.4f}",
                psnr=f"{_own_mean(figures['train_psnr']):.2f}",
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line for the epoch."""
        if not trainer.is_global_zero:
            return
        training: Training = pl_module  # type: ignore[assignment]
        figures = training.take_figures()
        epoch = trainer.current_epoch + 1
        left = (time.monotonic() - self.began) / (epoch - self.first) * ((trainer.max_epochs or epoch) - epoch)
        stage = f"  {training.net.stage}" if training.net.stage else ""
        untouched = training.config.degrade == ("none",)
        degraded = "" if untouched else f" (degraded {training.psnr_in:.2f})"
        further = "".join(f"  {name} {SHOWN[name].format(figures[name])}" for name in SHOWN if name in figures)
        self._say(
            f"epoch {epoch}/{trainer.max_epochs}{stage}  "
            f"training: loss {figures['train_loss']:.4f}, {figures['train_psnr']:.2f} dB  "
            f"held out: loss {figures['loss']:.4f}, {figures['psnr']:.2f} dB{degraded}{further}  "
            f"{int(left) // 60}:{int(left) % 60:02d} left"
        )

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar when a run is interrupted: a running bar hides the cursor."""
        self.bar.stop()


def _own_mean(metric: Any) -> float:
    """This process's own mean: `compute` would wait for the other processes, which show no bar and never come."""
    return float(metric.mean_value / metric.weight)
