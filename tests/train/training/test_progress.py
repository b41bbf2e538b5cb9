"""Progress on a terminal and elsewhere, and the pictures of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from rich.console import Console

from cae_train import CheckpointError, TrainConfig, TrainResult
from cae_train.sheets.preview import MARGIN, SCALE, TITLE, sheet, to_bgr, write_png
from cae_train.training.progress import ProgressLines

Settings = Callable[..., TrainConfig]
Run = Callable[..., TrainResult]
StopAt = Callable[..., Callback]


def progress(settings: Settings, run: Run, out: Path, terminal: bool, *more: Callback) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200)
    run(settings(epochs=2), out, callbacks=[ProgressLines(console), *more])
    return stream.getvalue()


@pytest.mark.slow
def test_without_a_terminal_progress_is_one_line_per_epoch(settings: Settings, run: Run, tmp_path: Path) -> None:
    begin, *lines = progress(settings, run, tmp_path / "run", False).splitlines()
    assert begin == "epoch 1 of 2 began, with 480 patches", "the first may take minutes"
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    with (tmp_path / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        row = list(csv.DictReader(file))[1]
    assert f"training: loss {float(row['train_loss']):.4f}, {float(row['train_psnr']):.2f} dB" in lines[1]
    assert f"held out: loss {float(row['val_loss']):.4f}, {float(row['val_psnr']):.2f} dB (degraded " in lines[1]
    assert lines[1].endswith("0:00 left")
    assert "\x1b" not in "".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_the_progress_bar_restores_the_cursor(
    stopped: bool, settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    shown = progress(settings, run, tmp_path / "run", True, *([stop_at(43)] if stopped else []))
    assert "PSNR" in shown
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert hide in shown
    assert shown.rindex(show) > shown.rindex(hide)


def test_a_sheet_shows_original_degraded_and_restored_side_by_side() -> None:
    colors = [torch.tensor(c).reshape(1, 3, 1, 1).expand(3, 3, 32, 32) for c in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))]
    image = sheet(*colors)
    side, step = 32 * SCALE, 32 * SCALE + MARGIN
    row = image[TITLE + side // 2]
    for i, bgr in enumerate(((0, 0, 255), (0, 255, 0), (255, 0, 0))):
        left = MARGIN + i * step
        assert {tuple(pixel) for pixel in row[left : left + side].tolist()} == {bgr}
    assert image.shape[0] > TITLE + 2 * side  # three triples, two a row
    assert image[TITLE + side : TITLE + side + 18, MARGIN + step :].min() < 255  # the figure below the noisy one


def test_the_sheet_of_a_plain_autoencoder_has_no_degraded_patches() -> None:
    """They are the original ones, and their PSNR is a constant."""
    clean, restored = torch.full((2, 3, 32, 32), 0.5), torch.full((2, 3, 32, 32), 0.25)
    image = sheet(clean, clean, restored)
    pair = 2 * (32 * SCALE + MARGIN) + 2 * MARGIN
    assert image.shape[1] == 2 * pair + MARGIN
    assert image[TITLE + 5, 2 * MARGIN + 32 * SCALE + 5].tolist() == [64] * 3


def test_patches_on_a_sheet_are_clipped_and_rounded_to_8_bits() -> None:
    patch = torch.tensor([1.2, 0.4999 / 255, -0.3]).reshape(3, 1, 1)
    assert to_bgr(patch).tolist() == [[[0, 0, 255]]]


def test_a_picture_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    path = tmp_path / "bélow" / "a b.png"
    write_png(path, image)
    assert np.array_equal(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), image)
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_png(path / "below a file.png", image)
    taken = tmp_path / "taken.png"
    (taken / "x").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"taken\.png cannot be written"):
        write_png(taken, image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bélow", "taken.png"]
