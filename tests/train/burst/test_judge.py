"""The judge of a fit: its figures are right whatever the noise, and it refuses color shifts."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from tests.train.burst.test_burst import HEIGHT, WIDTH, burst, scenery, still
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cae_train.burst.frames import Scene
from cae_train.burst.judge import (
    EDGE,
    Errors,
    Judged,
    Verdict,
    Windows,
    errors,
    pairs_as_windows,
    verdict,
    windows_of,
)
from cae_train.burst.pairs import Part, folds
from cae_train.burst.static_scenes import check
from cae_train.burst.targets import Target, targets_of


class Blur(nn.Module):
    """Stands in for a network: smooths, and adds to what is bright enough."""

    def __init__(self, sigma: float, shift: float = 0.0, above: float = 0.0) -> None:
        super().__init__()
        line = cv2.getGaussianKernel(7, sigma) if sigma else np.eye(7, 1, -3)
        self.kernel = torch.from_numpy((line @ line.T).astype(np.float32)).expand(3, 1, 7, 7)
        self.shift, self.above = shift / 255, above / 255

    def forward(self, x: Tensor) -> Tensor:
        smooth = F.conv2d(F.pad(x, (3, 3, 3, 3), mode="replicate"), self.kernel, groups=3)
        return smooth + self.shift * (smooth.mean((2, 3), keepdim=True) >= self.above)


BEFORE = Blur(0.4)


def skewed(seed: int, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Frames of photons in light through a tone curve and a blur, which lean to one side; and the mean of very many."""
    rng = np.random.default_rng(seed)
    light = (scenery(seed) * 0.8 / 255) ** 2.2
    shots = [cv2.GaussianBlur(255 * (rng.poisson(light * 150) / 150) ** (1 / 2.2), (0, 0), 0.7) for _ in range(120)]
    frames = np.rint(shots).clip(0, 255).astype(np.uint8)
    return frames[:count], frames[count:].mean(axis=0)


def judged(targets: list[Target], after: nn.Module) -> Verdict:
    scenes = windows_of([Part(target) for target in targets], 0)
    return verdict([Judged(each, errors(BEFORE, each), errors(after, each)) for each in scenes])


def true_psnr(network: nn.Module, frames: np.ndarray, truth: np.ndarray) -> float:
    """Of the middles of windows all over the frames, against the picture without noise."""

    def windows(picture: np.ndarray) -> Tensor:
        whole = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
        return whole.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)

    clean, middle = windows(truth), np.s_[..., EDGE:-EDGE, EDGE:-EDGE]
    squares = [
        ((network(windows(frame)).mul(255).round().clamp(0, 255) / 255 - clean)[middle] ** 2).mean() for frame in frames
    ]
    return float(-10 * torch.stack(squares).mean().log10())


@pytest.mark.slow
def test_the_gain_is_measured_against_the_noise_free_picture() -> None:
    scenes = [skewed(seed) for seed in range(3)]
    targets = targets_of([still(str(number), frames) for number, (frames, _) in enumerate(scenes)])
    for target in targets:
        target.fixed[:] = 0  # found or not, there is none
    for after in (Blur(0.6), Blur(0.9), Blur(2.5)):
        found = judged(targets, after)
        before, better = (
            np.mean([true_psnr(network, frames, truth) for frames, truth in scenes]) for network in (BEFORE, after)
        )
        assert found.before == pytest.approx(before, abs=0.12)
        assert found.gain == pytest.approx(better - before, abs=0.12)
        assert found.least < found.gain
        assert found.better is bool(better > before)


def test_two_frames_of_strong_noise_are_enough_for_a_fair_judgment() -> None:
    """The other frame is as noisy as the first: its noise must not count."""
    truth = scenery()
    (target,) = targets_of([still("two", burst(2, sigma=15))])
    found = judged([target], Blur(0.8))
    frames = burst(8, sigma=15, seed=0)
    assert found.after == pytest.approx(true_psnr(Blur(0.8), frames, truth), abs=0.3)
    assert found.noisy == pytest.approx(10 * np.log10(255**2 / 15**2), abs=0.3)


@pytest.mark.parametrize(("shift", "above"), [(3.0, 0.0), (-0.8, 0.0), (1.5, 160.0)])
def test_a_model_that_shifts_colors_is_refused_however_much_noise_it_removes(shift: float, above: float) -> None:
    targets = targets_of([check(Scene(str(seed), burst(seed=seed, sigma=12))) for seed in range(2)])
    plain, shifted = judged(targets, Blur(0.9)), judged(targets, Blur(0.9, shift, above))
    assert plain.better
    assert plain.shift < 0.3
    assert shifted.gain > 0
    assert shifted.shifted
    assert not shifted.better
    assert shifted.shift == pytest.approx(abs(shift), abs=0.4)


@pytest.mark.parametrize(("frames", "shifted"), [(1, False), (4, False), (1, True), (4, True)])
def test_frames_of_one_place_count_once_as_evidence_of_a_color_shift(frames: int, shifted: bool) -> None:
    places, spread = 20, 0.2 if shifted else 2.4  # a mean shift of 1.0 level
    windows = pairs_as_windows(*torch.full((2, places * frames, 3, 32, 32), 0.5))
    windows = replace(windows, places=np.repeat(np.arange(places), frames))
    shifts = 1 + spread * (-1.0) ** windows.places[:, None] * np.ones(3)
    squares = np.ones(places * frames)
    found = verdict([Judged(windows, Errors(squares, 0 * shifts), Errors(squares, shifts))])
    assert found.shift == pytest.approx(1)
    assert found.shifted is shifted


def test_colors_are_not_compared_where_black_clips_the_noise() -> None:
    """There a mean of frames is brighter than the picture, and a model may be right to differ."""
    picture = scenery() * 0.7
    picture[:, : WIDTH // 2] = 2
    targets = targets_of([still("cut", burst(picture=picture, sigma=12))])
    for above, shifted in ((96.0, True), (0.0, True)):
        assert judged(targets, Blur(0.9, 2.0, above)).shifted is shifted
    (windows,) = windows_of([Part(target) for target in targets], 0)
    dark = windows.others.mean((2, 3)).numpy() < 20
    assert windows.cut[dark].all()
    after = errors(BEFORE, windows)
    after.shifts[windows.cut] += 3
    assert not verdict([Judged(windows, errors(BEFORE, windows), after)]).shifted


def test_a_model_that_changes_nothing_is_not_better() -> None:
    targets = targets_of([check(Scene("same", burst()))])
    found = judged(targets, BEFORE)
    assert found.least == found.gain == 0
    assert not found.better


def test_flicker_and_fixed_rows_do_not_count_as_errors_of_a_model() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 4, (HEIGHT, 1, 1))
    scenes = []
    for seed in range(3):
        light = 1 + 0.03 * np.sin(np.arange(24))
        frames = [scenery(seed) * gain + rows + rng.normal(0, 8, (HEIGHT, WIDTH, 3)) for gain in light]
        scenes.append(check(Scene(str(seed), np.rint(frames).clip(0, 255).astype(np.uint8))))
    targets = targets_of(scenes)
    assert all(target.fixed.any() for target in targets)
    found = judged(targets, BEFORE)
    assert found.noisy == pytest.approx(10 * np.log10(255**2 / (8**2 + 4**2)), abs=0.3)


def test_removing_hot_pixels_counts_as_a_gain() -> None:
    hot = np.random.default_rng(9).random((HEIGHT, WIDTH, 1)) < 0.003
    targets = targets_of(
        [check(Scene(str(seed), burst(picture=scenery(seed) + hot * 70, sigma=4, seed=seed))) for seed in range(3)]
    )
    assert targets[0].defects.any()

    class Median(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shown = [cv2.medianBlur(np.ascontiguousarray(one.permute(1, 2, 0).numpy()), 3) for one in x]
            return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)

    found = judged(targets, Median())
    assert found.noisy < 10 * np.log10(255**2 / 4**2) - 1
    assert found.gain > 0.5


def test_pairs_with_a_known_clean_side_are_judged_by_it() -> None:
    clean = torch.rand(64, 3, 1, 1, generator=torch.Generator().manual_seed(0)).mul(0.6).add(0.2).expand(-1, -1, 32, 32)
    noisy = clean + 0.05 * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    windows: Windows = pairs_as_windows(noisy, clean.contiguous())
    found = verdict([Judged(windows, errors(BEFORE, windows), errors(Blur(1.5), windows))])
    assert found.noisy == pytest.approx(26.02, abs=0.1)
    assert found.better


@pytest.mark.parametrize(("shift", "refused"), [(1.0, False), (0.0, False), (-2.0, True)])
def test_colors_of_a_single_shot_are_compared_with_the_given_mean(shift: float, refused: bool) -> None:
    """A single shot may be darker than the mean of many: a model that learned so shifts nothing."""
    picture = scenery()
    shot = burst(1, picture=picture - 1.0, sigma=6)
    targets = targets_of([check(Scene(str(number), shot, picture.astype(np.float32))) for number in range(2)])
    assert judged(targets, Blur(0.9, shift)).shifted is refused


@pytest.mark.parametrize(("count", "times"), [(1, 0), (2, 2), (3, 3), (5, 5), (12, 5)])
def test_each_scene_is_held_out_once(count: int, times: int) -> None:
    targets = targets_of([still(str(i), burst(2, seed=i)) for i in range(count)])
    found = folds(targets)
    assert len(found) == times
    left_out = [part.target.steady.scene.name for fold in found for part in fold.left_out]
    assert sorted(left_out) == sorted(str(i) for i in range(count) if times)
    for fold in found:
        assert len(fold.own) + len(fold.left_out) == count
        assert not {id(part.target) for part in fold.own} & {id(part.target) for part in fold.left_out}


def test_crops_of_one_shot_are_held_out_together() -> None:
    def left_out(*names: str) -> list[list[str]]:
        scenes = [Scene(name, burst(1, seed=i), scenery(i)) for i, name in enumerate(names)]
        found = folds(targets_of([check(scene) for scene in scenes]))
        return [[part.target.steady.scene.name for part in fold.left_out] for fold in found]

    assert left_out("IMG_0001", "IMG_0002", "IMG_0003") == [["IMG_0001"], ["IMG_0002"], ["IMG_0003"]]
    assert left_out("wall_1", "wall_2", "plant_1") == [["wall_1", "wall_2"], ["plant_1"]]
    assert left_out("wall_1", "wall_2") == []
