"""Distillation: learning from the results of a trained network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.train.conftest import Command

from cae_train import CheckpointError, ConfigError, TrainConfig, TrainResult, load_model
from cae_train.checkpoint import save_model
from cae_train.models import build
from cae_train.training.optimization.distillation import training_loss

Settings = Callable[..., TrainConfig]
Run = Callable[..., TrainResult]


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """Return a teacher that changes nothing: its last layer is zero, and skip adds it to the input."""
    network = build("skip", {"widths": [16, 16]})
    for parameter in [*network.parameters()][-2:]:
        parameter.data.zero_()
    save_model(tmp_path / "teacher.pt", network, TrainConfig(model={"widths": [16, 16]}), {})
    return tmp_path / "teacher.pt"


def test_distillation_weighs_faint_and_strong_noise_equally(identity: Path) -> None:
    loss = training_loss(TrainConfig(teacher=str(identity)), build("skip"))
    clean, noise = (
        torch.full((1, 3, 32, 32), 0.5),
        torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
    )
    for sigma in (0.02, 0.2):
        degraded = clean + sigma * noise
        assert float(loss(clean, clean, degraded)) == pytest.approx(1, abs=0.05)  # as far from the teacher as it is off
        assert float(loss(degraded, clean, degraded)) == pytest.approx(1, abs=0.05)
        assert float(loss(clean + sigma * noise / 2, clean, degraded)) == pytest.approx(0.5, abs=0.05)
    assert float(loss(clean + 1 / 255, clean, clean)) == pytest.approx(2)  # no noise: one level of error counts as one


@pytest.mark.slow
def test_a_run_with_a_teacher_learns_its_outputs(settings: Settings, run: Run, finished: Path, tmp_path: Path) -> None:
    """The student has the teacher's network and starts anew; the teacher stays as it is."""
    teacher = finished / "model.pt"
    before = teacher.read_bytes()
    result = run(settings(teacher=teacher, epochs=1), tmp_path / "student")
    assert teacher.read_bytes() == before
    student = load_model(result.model)
    assert student.config.teacher == str(teacher)
    assert student.network.state_dict().keys() == load_model(teacher).network.state_dict().keys()
    patches = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(2)).mul(0.1).add(0.4)
    with torch.no_grad():
        goal = load_model(teacher).network(patches)
        assert (student.network(patches) - goal).abs().mean() < (patches - goal).abs().mean()
    teacher_gone = settings(teacher=tmp_path / "gone.pt")
    with pytest.raises(CheckpointError, match=r"^teacher: .*gone\.pt does not exist: name a model\.pt"):
        run(teacher_gone, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_unsuitable_teachers_are_refused(tmp_path: Path, identity: Path) -> None:
    with pytest.raises(ConfigError, match="loss is 'mse': choose one, since a teacher brings its own loss"):
        TrainConfig(teacher=str(identity), loss="mse")
    gray = tmp_path / "gray.pt"
    save_model(gray, build("skip", {"widths": [16, 16]}, 1), TrainConfig(model={"widths": [16, 16]}, channels=1), {})
    with pytest.raises(ConfigError, match=r"gray\.pt is a network for 1 channels, here they are 3"):
        training_loss(TrainConfig(teacher=str(gray)), build("skip"))


def test_a_missing_teacher_ends_the_command(cae_train: Command, photos: Path, tmp_path: Path) -> None:
    done = cae_train("--data", photos, "--teacher", tmp_path / "no.pt", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "no.pt" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
