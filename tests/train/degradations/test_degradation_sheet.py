"""`--preview-degradation`: a sheet of patches after each degradation."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cae_train.config import TrainConfig
from cae_train.data.images import load
from cae_train.data.pairs import fixed_pairs
from cae_train.degradations.registry import parse_chain
from cae_train.sheets.degradation_sheet import SAMPLES, SCALE, draw, stages_of

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Settings = Callable[..., TrainConfig]
CHAIN = ("blur:0-2,motion-blur:3-9", "gaussian:5-40", "jpeg:20-80", "mask:0.1-0.3")


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_preview_degradation_draws_a_sheet_and_does_not_train(cae_train: Command, photos: Path, tmp_path: Path) -> None:
    steps = [word for spec in CHAIN for word in ("--degrade", spec)]
    sheet = tmp_path / "new" / "shéet.png"
    for _ in range(2):  # the second goes over the first
        done = cae_train("--data", photos, *steps, "--preview-degradation", sheet, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.splitlines() == [f"wrote {sheet}: 8 patches, {' + '.join(CHAIN)}"]
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "shéet.png"]  # no run was begun, nothing half written
    drawn = read(sheet)
    assert drawn.shape[0] > 8 * 32 * SCALE
    assert drawn.shape[1] > 5 * 32 * SCALE
    first = drawn.copy()
    cae_train("--data", photos, *steps, "--seed", 3, "--preview-degradation", sheet, cwd=tmp_path)
    assert not np.array_equal(first, read(sheet))


def test_a_sheet_that_cannot_be_written_is_a_one_line_error(cae_train: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder.png", "file/sheet.png"):
        done = cae_train("--data", photos, "--preview-degradation", tmp_path / name)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"{tmp_path / name} cannot be written" in done.stderr


@pytest.mark.parametrize("specs", [("gaussian:25",), CHAIN])
def test_the_last_column_equals_the_held_out_patches_of_a_run(specs: tuple[str, ...], settings: Settings) -> None:
    config = settings(degrade=specs)
    images, chain = load(config).validation, parse_chain(specs)
    clean, stages = stages_of(images, chain, config.seed)
    degraded, wanted = fixed_pairs(images, chain, config.seed, SAMPLES)
    assert len(clean) == 8
    assert len(stages) == len(specs)
    assert torch.equal(clean, wanted)
    assert torch.equal(stages[-1].mul(255).round().div(255), degraded)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "steps"), [(1, 1), (8, 1), (5, 2), (2, 6)])
def test_any_number_of_patches_steps_and_channels_fits(count: int, steps: int, channels: int) -> None:
    clean = torch.rand(count, channels, 32, 32)
    stages = [clean * (1 - 0.1 * step) for step in range(1, steps + 1)]
    titles = ["a-name-that-is-as-long-as-names-can-be:0.123456-0.654321,another:5,third:6"] * steps
    sheet = draw(clean, stages, titles)
    found = 0
    for batch in (clean, *stages):
        for patch in batch:
            rgb = patch.mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
            template = np.ascontiguousarray(rgb[..., ::-1].repeat(SCALE, 0).repeat(SCALE, 1))[:24, :24]
            found += float(cv2.matchTemplate(sheet, template, cv2.TM_SQDIFF).min()) < 1e3
    assert found == count * (steps + 1)
