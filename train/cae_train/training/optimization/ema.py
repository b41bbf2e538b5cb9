"""The moving average of the weights, which is evaluated, saved and exported."""

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn


class Ema(WeightAveraging):
    """Exponential moving average of the weights; its memory is short at first, so that it also suits short runs."""

    def __init__(self, decay: float) -> None:
        def blend(averages: Any, currents: Any, count: Any) -> None:
            steps = int(count)
            torch._foreach_lerp_(list(averages), list(currents), 1 - min(decay, (1 + steps) / (10 + steps)))

        super().__init__(use_buffers=False, multi_avg_fn=blend)
        self.stage: str | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restart the average with each stage of a training: earlier weights belong to another objective.

        This is done per batch: at the start of an epoch Lightning calls callbacks first, when the network has not
        changed its stage yet.
        """
        stage = cast(Any, pl_module).net.stage
        if self._average_model is not None and self.stage not in (None, stage):
            self._average_model.n_averaged.zero_()
        self.stage = stage

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: Lightning's own, and the stage of the average."""
        return super().state_dict() | {"stage": self.stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; checkpoints of earlier versions have no stage."""
        super().load_state_dict({"latest_update_step": 0} | state_dict)
        self.stage = state_dict.get("stage")

    def network(self, current: nn.Module) -> nn.Module:
        """Return the averaged network, or the current one if there is no average yet."""
        if self._average_model is None:
            return current
        return cast(nn.Module, self._average_model.module.net)
