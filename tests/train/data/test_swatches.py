"""The charts of flat colors: flat, saturated, and the same for the same seed."""

import numpy as np

from cae_train.data.swatches import PICTURES, SWATCH, load_swatches
from cae_train.data.synthetic import SIDE

FEW = 12


def test_the_same_seed_draws_the_same_charts_and_another_seed_others() -> None:
    charts = load_swatches(0, FEW)
    assert all(chart.shape == (SIDE, SIDE, 3) and chart.dtype == np.uint8 for chart in charts)
    assert np.array_equal(charts, load_swatches(0, FEW))
    assert len({chart.tobytes() for chart in (*charts, *load_swatches(1, FEW))}) == 2 * FEW
    assert len(load_swatches()) == PICTURES


def test_every_square_is_flat_and_most_colors_are_saturated() -> None:
    charts = np.stack(load_swatches(0, FEW))
    across = SIDE // SWATCH
    squares = (
        charts.reshape(FEW, across, SWATCH, across, SWATCH, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, SWATCH**2, 3)
    )
    assert np.array_equal(squares.min(1), squares.max(1))
    saturation = np.ptp(squares[:, 0].astype(int), axis=1)
    assert np.median(saturation) > 100
    assert (squares[:, 0].max(0) > 240).all()
    assert (squares[:, 0].min(0) < 15).all()
