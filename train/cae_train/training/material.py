"""What a run learns from, and the pairs that it is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from cae_train.config import TrainConfig
from cae_train.data.images import Image, Split
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.degradations.chain import Chain


class PairSource(Protocol):
    """Batches by (epoch, step): degraded and clean, float32 N x C x 32 x 32 in 0..1 each; `steps` make an epoch."""

    steps: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch; every call returns the same one."""
        ...


@dataclass(frozen=True)
class Material:
    """What a run learns from, and what it is judged by.

    Attributes:
        pairs: batches to learn from.
        held_out: the degraded and clean patches that each epoch is judged by, float32 N x C x 32 x 32 in 0..1 each.
        evaluated_on: what these are, in a few words.
        leaves_holes: whether pixels are missing in what is degraded, as `Chain.leaves_holes` says.
        test: images of the data set's own test part, which the finished model is judged by.
        test_of: the data set that they are of.
    """

    pairs: PairSource
    held_out: tuple[Tensor, Tensor]
    evaluated_on: str
    leaves_holes: bool = False
    test: Sequence[Image] = ()
    test_of: str = ""

    @classmethod
    def of(cls, config: TrainConfig, split: Split, chain: Chain) -> "Material":
        """Patches of the images, degraded by the chain."""
        names = "+".join(Path(name).name or name for name in config.data)
        held_out = fixed_pairs(split.validation, chain, config.seed)
        pairs = Pairs(split.train, chain, config)
        on = f"held-out patches of {names}"
        return cls(pairs, held_out, on, chain.leaves_holes, split.test, split.test_of)
