"""The moving average of the weights, which is evaluated, saved and exported."""

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn


class Ema(WeightAveraging):
    """Exponential moving average of the weights, with a short memory at first so that short runs are not held back."""

    def __init__(self, decay: float) -> None:
        def blend(averages: Any, currents: Any, count: Any) -> None:
            steps = int(count)
            torch._foreach_lerp_(list(averages), list(currents), 1 - min(decay, (1 + steps) / (10 + steps)))

        super().__init__(use_buffers=False, multi_avg_fn=blend)
        self.stage: str | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restart the average with each stage of a training: earlier weights belong to another objective.

        Not at the epoch's start: Lightning asks callbacks before the module, whose network is in the old stage then.
        """
        stage = cast(Any, pl_module).net.stage
        if self._average_model is not None and self.stage not in (None, stage):
            self._average_model.n_averaged.zero_()
        self.stage = stage

    def state_dict(self) -> dict[str, Any]:
        """The stage that the average is of, beside Lightning's own state, for a checkpoint."""
        return super().state_dict() | {"stage": self.stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; a checkpoint from before there were stages has none."""
        super().load_state_dict({"latest_update_step": 0} | state_dict)
        self.stage = state_dict.get("stage")

    def network(self, current: nn.Module) -> nn.Module:
        """The averaged network, or the current one before there is an average."""
        if self._average_model is None:
            return current
        return cast(nn.Module, self._average_model.module.net)
