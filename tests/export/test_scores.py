"""The features that a detector measures around each pixel, and what it finds anomalous."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cae_export.detector.lines import DIRECTIONS, LENGTHS, Lines
from cae_export.detector.lines import LOG_OFFSET as EVEN
from cae_export.detector.nearest import Nearest
from cae_export.detector.normal import Normal
from cae_export.detector.scores import FOLDS, LOG_OFFSET, SQUARE_SIDES, Scores
from cae_train.models import build


def scores(channels: int = 3) -> Scores:
    torch.manual_seed(1)
    return Scores(build("cae", {"code": 4}, channels).eval())


def grass(count: int, seed: int = 0) -> Tensor:
    """Strong fine texture, float32 N x 3 x 32 x 32."""
    noise = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    return (noise * torch.tensor([0.6, 0.9, 0.4]).view(3, 1, 1)).clamp(0, 1)


@pytest.fixture(scope="module")
def fitted() -> Scores:
    """A detector fitted to grass; tests that change it copy it."""
    return scores().fit(grass(256))


@settings(max_examples=20)
@given(
    y=st.integers(0, 31),
    x=st.integers(0, 31),
    level=st.integers(0, len(SQUARE_SIDES) - 1),
    channels=st.sampled_from([1, 3]),
)
def test_statistics_cover_the_pixels_in_and_around_the_patch(y: int, x: int, level: int, channels: int) -> None:
    detector, patch = scores(channels), grass(1)[:, :channels]
    with torch.inference_mode():
        found = detector.statistics(patch)[0, :, y, x].numpy()
        missed = (patch - detector.network(patch))[0].numpy()
    half = SQUARE_SIDES[level] // 2
    near = np.s_[:, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
    seen, left = patch[0].numpy()[near], missed[near]
    variance = np.mean([plane.var() for plane in seen])
    wanted = [
        *seen.mean((1, 2)),
        *left.mean((1, 2)),
        np.log(np.square(left).mean() + LOG_OFFSET),
        np.log(variance + LOG_OFFSET),
    ]
    np.testing.assert_allclose(found[len(wanted) * level :][: len(wanted)], wanted, atol=2e-3)


@pytest.mark.slow
def test_patches_like_the_fitted_ones_score_about_1(fitted: Scores) -> None:
    with torch.inference_mode():
        assert float(fitted(grass(256)).mean()) == pytest.approx(0.85, abs=0.15)
        assert float(fitted(grass(64, seed=1)).mean()) == pytest.approx(0.95, abs=0.15)


@pytest.mark.parametrize(("count", "size"), [(18, 64), (60, 64), (90, 64), (60, 256), (4000, 24)])
def test_few_fitted_rows_do_not_make_other_rows_anomalous(count: int, size: int) -> None:
    """Rows of one distribution, correlated: those that were not fitted to are about as far as those that were."""
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(size, size, generator=generator) / size**0.5 + torch.eye(size)
    rows = torch.randn(count + 2000, size, generator=generator) @ mixed
    normal = Normal(size)
    normal.fit(rows[:count])
    assert float(normal(rows[count:]).mean()) == pytest.approx(1, abs=0.35)


def test_deviations_count_more_where_good_pictures_vary_little() -> None:
    generator = torch.Generator().manual_seed(3)
    one = torch.randn(5000, 1, generator=generator)
    normal = Normal(2)
    normal.fit(torch.cat([one, one + 0.3 * torch.randn(5000, 1, generator=generator)], 1))
    along, across = normal(torch.tensor([[2.0, 2.0], [2.0, -2.0]])).tolist()
    assert across > 10 * along


def test_distances_are_to_the_nearest_example() -> None:
    rows = torch.randn(1000, 6, generator=torch.Generator().manual_seed(3)) * torch.tensor([9.0, 1, 1, 1, 1, 0.1])
    nearest = Nearest(6)
    nearest.fit(rows)
    assert len(nearest.examples) == Nearest.EXAMPLES
    others = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(4))
    wanted = torch.cdist(nearest.white(others).permute(0, 2, 3, 1).reshape(-1, 6), nearest.examples).amin(1).square()
    torch.testing.assert_close(nearest(others), wanted.view(2, 4, 5), atol=1e-3, rtol=1e-3)
    nearest.fit(rows[:50])
    assert len(nearest.examples) == 50
    assert float(nearest(rows[:50].view(50, 6, 1, 1)).max()) < 1e-3, "its own examples"
    two = 10.0 * (torch.arange(1000)[:, None] % 2) - 5 + 0.1 * rows[:, 1:2]
    normal, nearest = Normal(1), Nearest(1)
    normal.fit(two)
    nearest.fit(two)
    between, usual = torch.zeros(1, 1, 1, 1), two[:1, :, None, None]
    assert float(normal(between)) < float(normal(usual)), "the mean of two kinds"
    assert float(nearest(between)) > 10 * float(nearest(usual) + 0.01), "of which none is like it"


@pytest.mark.slow
def test_a_thin_line_is_found_in_a_mostly_normal_patch() -> None:
    detector = scores().fit(grass(256) * 0.3 + 0.3)
    patch = grass(1, seed=5) * 0.3 + 0.3
    line = patch.clone()
    line[..., 5:27, 16] = 0.9
    with torch.inference_mode():
        assert float(detector(line).mean()) > 3 * float(detector(patch).mean())


@pytest.mark.slow
def test_an_unusual_code_raises_the_score_of_the_whole_patch(fitted: Scores) -> None:
    """Pixels that look as usual around each of them, in an order that no good patch has."""
    detector = deepcopy(fitted)
    patch = grass(1, seed=4)
    with torch.inference_mode():
        before = detector(patch)
        detector.codes.mean += 10 * detector.code(grass(64)).std(0)
        after = detector(patch)
    assert float((after - before).min()) > 1
    assert float(after.std()) < 1e-3 * float(after.mean())


@pytest.mark.slow
def test_the_score_of_one_pixel_is_spread_over_its_neighbors(fitted: Scores) -> None:
    patch = grass(1, seed=5)
    dotted = patch.clone()
    dotted[..., 16, 16] = torch.tensor([1.0, 0.0, 1.0])
    with torch.inference_mode():
        more = (fitted(dotted) - fitted(patch))[0, 0]
    assert float(more[12:21, 12:21].min()) > 0.3 * float(more[16, 16])


def test_a_flat_spot_in_a_texture_is_found_although_it_is_reconstructed_well() -> None:
    detector = scores().fit(grass(64))
    patch = grass(1, seed=2)
    spot = patch.clone()
    spot[..., 10:20, 10:20] = patch.mean((2, 3), keepdim=True)
    with torch.inference_mode():
        errors = (spot - detector.network(spot)).square().mean((0, 1))
        heat = detector(spot)[0, 0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[12:18, 12:18] = True
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[5:25, 5:25] = False
    assert float(errors[inside].mean()) < float(errors[outside].mean())
    assert float(heat[inside].min()) > 5 * float(heat[outside].max())


@pytest.mark.slow
def test_a_picture_is_scored_by_statistics_of_the_other_pictures() -> None:
    """One good picture is unlike the others: fitted to, it looks usual, and left out it does not."""
    patches, pictures = grass(160), torch.arange(160) % 20
    patches[pictures == 3] = patches[pictures == 3].flip(1) * 0.8 + 0.2
    detector = scores().fit(patches, pictures)
    own, other = patches[pictures == 3], patches[pictures == 4]
    with torch.inference_mode():
        assert float(detector.without(3)(own).mean()) > 2 * float(detector(own).mean())
        assert float(detector.without(4)(own).mean()) == pytest.approx(float(detector(own).mean()), rel=0.3)
        assert float(detector.without(4)(other).mean()) == pytest.approx(float(detector(other).mean()), rel=0.5)
    assert len(detector.folds) == FOLDS


def test_line_features_are_computed_at_every_second_pixel() -> None:
    """In the first and the fifth direction: along rows and columns, their ends counted half."""
    lines, patch = Lines(), grass(1)
    found = lines(patch)[0]
    assert found.shape == (Lines.size, 16, 16)
    gray = np.pad(patch[0].mean(0).numpy(), 3, mode="reflect")
    for number, (length, weights) in enumerate(((5, [0.5, 1, 1, 1, 0.5]), (7, [0.5, 1, 1, 1, 1, 1, 0.5]))):
        for y, x in ((0, 0), (4, 7), (15, 2)):
            row, column, half = 2 * y + 3, 2 * x + 3, length // 2
            along = {0: gray[row, column - half : column + half + 1], 4: gray[row - half : row + half + 1, column]}
            for direction, values in along.items():
                mean = np.average(values, weights=weights)
                variance = np.average((values - mean) ** 2, weights=weights)
                at = len(LENGTHS) * DIRECTIONS * np.array([0, 1]) + DIRECTIONS * number + direction
                np.testing.assert_allclose(found[at, y, x], [mean, np.log(variance + EVEN)], atol=1e-4)


def test_a_detector_can_be_fitted_to_pictures_of_one_color() -> None:
    """There is no variance: only what the ridge leaves."""
    flat = torch.full((8, 3, 32, 32), 0.5)
    detector = scores().fit(flat)
    with torch.inference_mode():
        assert bool(torch.isfinite(detector(flat)).all())
        assert float(detector(flat + 0.1).mean()) > float(detector(flat).mean()) + 10
