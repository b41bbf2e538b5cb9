"""How processes divide the patches of other sources than `Pairs`, such as bursts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cae_train.errors import ConfigError
from cae_train.training.placement import shared_out


class Numbered:
    """A source whose patches are numbered."""

    steps = 1

    def __init__(self, count: int) -> None:
        self.patches = torch.arange(count, dtype=torch.float32)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return self.patches, self.patches


def test_every_patch_belongs_to_one_process() -> None:
    shares = [shared_out(Numbered(6), 6, rank, 2)[0, 0][1].tolist() for rank in range(2)]
    assert shares == [[0, 2, 4], [1, 3, 5]]


def test_a_batch_that_cannot_be_divided_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch is 65: 2 processes share each step's patches"):
        shared_out(Numbered(65), 65, 0, 2)
    source = Numbered(65)
    assert shared_out(source, 65, 0, 1) is source
