"""What a run learns from, and the pairs that it is judged by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from cae_train.config import TrainConfig
from cae_train.data.images import Split
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.degradations.registry import chain_of


class PairSource(Protocol):
    """Batches by (epoch, step): degraded and clean, float32 N x C x 32 x 32 in 0..1 each; `steps` make an epoch."""

    steps: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch; every call returns the same one."""
        ...


@dataclass(frozen=True)
class Material:
    """What a run learns from, the pairs that it is judged by, and what these are: of a split by default."""

    pairs: PairSource
    held_out: tuple[Tensor, Tensor]
    evaluated_on: str

    @classmethod
    def of(cls, config: TrainConfig, split: Split) -> "Material":
        """Patches of the images, degraded as the settings say."""
        chain = chain_of(config)
        names = "+".join(Path(name).name or name for name in config.data)
        held_out = fixed_pairs(split.validation, chain, config.seed)
        return cls(Pairs(split.train, chain, config), held_out, f"held-out patches of {names}")
