"""Muon: orthogonal steps for any shape; its state can be saved and restored."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cae_train import TrainConfig
from cae_train.models import build
from cae_train.training.material import Material
from cae_train.training.module import Training
from cae_train.training.optimization.losses import mse
from cae_train.training.optimization.muon import UPDATE_RMS, Muon, orthogonal


@settings(max_examples=30)
@given(rows=st.integers(1, 48), columns=st.integers(1, 300), seed=st.integers(0, 2**31), scale=st.floats(1e-6, 1e3))
def test_the_singular_values_of_an_update_are_close_to_one(rows: int, columns: int, seed: int, scale: float) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * scale
    values = torch.linalg.svdvals(orthogonal(matrix[None])[0])
    well = torch.linalg.svdvals(matrix) > 0.05 * torch.linalg.matrix_norm(matrix)  # tiny ones need more iterations
    assert ((values[well] > 0.3) & (values[well] < 1.4)).all()
    along = float((orthogonal(matrix[None])[0] * matrix).sum())  # of the orthogonal matrices the nearest one has most
    assert along == pytest.approx(float(torch.linalg.matrix_norm(matrix, "nuc")), rel=0.4)


def test_kernels_are_made_orthogonal_one_by_one() -> None:
    matrices = torch.randn(5, 12, 30, generator=torch.Generator().manual_seed(2))
    each = torch.cat([orthogonal(matrix[None]) for matrix in matrices])
    assert torch.allclose(orthogonal(matrices), each, atol=1e-5)


def test_a_zero_gradient_gives_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 4, 7)), torch.zeros(2, 4, 7))


@pytest.mark.parametrize("shape", [(32, 32, 3, 3), (64, 16, 1, 1), (3, 32, 2, 2), (32, 3, 4, 4)])
def test_a_step_is_as_large_as_the_learning_rate_says(shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    Muon([parameter], lr=0.01).step()
    size = float(parameter.detach().square().mean().sqrt())
    assert size == pytest.approx(0.01 * UPDATE_RMS, rel=0.35)


def learn(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros(())
    for _ in range(steps):
        x = torch.randn(16, 3, 8, 8, generator=generator)
        optimizer.zero_grad()
        loss = (network(x) - x.flip(1)).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_muon_learns_and_resumes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
    optimizer = Muon(network.parameters(), lr=0.02)
    first = learn(network, optimizer, 20)
    twin = copy.deepcopy(network)
    continued = Muon(twin.parameters(), lr=0.02)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert learn(network, optimizer, 150) == learn(twin, continued, 150) < first / 4


def test_kernels_of_depthwise_convolutions_are_left_to_adam() -> None:
    torch.manual_seed(0)
    network = build("skip", {"widths": [16, 16], "block": "depthwise"})
    training = Training(TrainConfig(), Material(Nothing(), (torch.rand(2, 3, 32, 32),) * 2, ""), network, mse)
    optimizer = training.optimizer()
    training.net(torch.rand(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    for name, parameter in training.net.named_parameters():
        by_adam = name.endswith((".d.weight", "bias"))
        assert set(optimizer.state[parameter]) == ({"mean", "square", "steps"} if by_adam else {"momentum"}), name


class Nothing:
    """No pairs: nothing is trained."""

    steps = 1

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError
