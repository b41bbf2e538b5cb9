"""The pairs of patches that a run trains on and is evaluated on."""

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
    """The pairs of patches that a run trains on and is evaluated on.

    Attributes:
        pairs: training batches.
        held_out: degraded and clean patches to evaluate each epoch on, float32 N x C x 32 x 32 in 0..1 each.
        evaluated_on: a short name of the held-out patches.
        leaves_holes: whether degraded patches have missing pixels, see `Chain.leaves_holes`.
        test: images of the data set's own test part, to evaluate the finished model on.
        test_of: the data set of these images.
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
