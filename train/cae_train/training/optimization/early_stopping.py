"""Early stopping."""

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Stops after some epochs without a better validation PSNR; with stages, only within the last stage."""

    def __init__(self, epochs: int) -> None:
        super().__init__("val_psnr", patience=epochs, mode="max")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the epoch if it is one of the last stage: no other is compared with it."""
        if cast(Any, pl_module).net.last_stage:
            super().on_validation_end(trainer, pl_module)
        else:
            self.best_score, self.wait_count = torch.tensor(-torch.inf), 0
