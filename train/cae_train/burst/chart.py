"""Draws a camera's noise: its strength at each brightness, its grain, color correlation and fixed pattern."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cae_shared.temporary import whole_file
from cae_train.burst.measure import Measurement
from cae_train.burst.targets import Target
from cae_train.degradations.measured_noise import KNOTS
from cae_train.errors import CheckpointError

COLORS = ("tab:red", "tab:green", "tab:blue")
SMOOTHED, SHARPENED = 0.15, -0.1  # correlation of neighbors above and below which it is reported
FIXED_SHOWN = 0.005  # least share of the noise at which the fixed pattern is shown
WHITE_LABELS = 0.6  # least absolute correlation at which labels are white
SIDE = 160  # side of the shown part of the fixed pattern, in pixels


def draw(measurement: Measurement, targets: Sequence[Target], path: Path) -> None:
    """Write the figure as a PNG.

    Raises:
        CheckpointError: the file cannot be written.
    """
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    strength, grain, colors, fixed = figure.subplots(1, 4, width_ratios=(1.5, 1, 1, 1))
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    for c, name in enumerate("RGB"):
        strength.plot(measurement.seen[c], measurement.variance[c], ".", color=COLORS[c], markersize=4, label=name)
        strength.plot(knots, (measurement.model.sigma[c] * 255) ** 2, color=COLORS[c], linewidth=0.8)
    strength.set(title="variance against brightness", xlabel="brightness", ylim=(0, None), xlim=(0, 255))
    strength.legend(loc="upper left")  # looking for the best place can be slow, and Matplotlib warns of that
    grain.imshow(measurement.correlation, cmap="RdBu", vmin=-1, vmax=1, extent=(-7.5, 7.5, 7.5, -7.5))
    grain.set(title="correlation with neighbors", xlabel="pixels")
    colors.imshow(measurement.colors, cmap="RdBu", vmin=-1, vmax=1)
    colors.set(title="correlation of colors", xticks=range(3), xticklabels="RGB", yticks=range(3), yticklabels="RGB")
    for (y, x), value in np.ndenumerate(measurement.colors):
        colors.text(
            x, y, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > WHITE_LABELS else "black"
        )
    shown, corner = targets[0], np.s_[:SIDE, :SIDE]
    pattern = shown.fixed[..., 0][corner] + 20.0 * shown.hot[corner] - 20.0 * shown.dead[corner]
    fixed.imshow(pattern, cmap="gray", vmin=-3, vmax=3)
    fixed.set(title=f"fixed pattern: {measurement.fixed_share:.0%} of the noise", xticks=[], yticks=[])
    try:
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=90, format="png")
    except OSError as e:
        raise CheckpointError(f"{path} cannot be written: {e.strerror or e}") from e


def sentences(measurement: Measurement, targets: Sequence[Target]) -> list[str]:
    """Describe the figure in sentences, one per line."""
    model = measurement.model
    near = float(measurement.correlation[7, 8] + measurement.correlation[8, 7]) / 2
    grain = (
        f"neighboring pixels share noise (correlation {near:.2f}): the camera smooths or compresses" if near > SMOOTHED
        else f"the camera sharpens (correlation of neighbors {near:.2f})" if near < SHARPENED
        else "neighboring pixels are independent"
    )  # fmt: skip
    left = max(target.left for target in targets)
    lines = [f"noise of {model.summary()}", grain]
    if measurement.fixed_share > FIXED_SHOWN:
        lines.append(
            f"{measurement.fixed_share:.0%} of the noise is a fixed pattern, which is subtracted: averaging keeps it"
        )
    return [*lines, f"the targets keep {left:.1%} of a frame's noise" if left else "the targets are the means given"]
