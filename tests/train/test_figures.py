"""Figures drawn with Matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.train.burst.test_burst import burst

from cae_train.burst import chart
from cae_train.burst.frames import Scene
from cae_train.burst.measure import measure
from cae_train.burst.static_scenes import check
from cae_train.burst.targets import targets_of
from cae_train.sheets.curves import COLUMNS, draw_curves

Draw = Callable[[Path], None]


def curves(path: Path) -> None:
    draw_curves(path, [dict.fromkeys(COLUMNS, "20") | {"epoch": epoch} for epoch in "12"])


def noise(path: Path) -> None:
    targets = targets_of([check(Scene("door", burst(8)))])
    chart.draw(measure(targets, "door"), targets, path)


@pytest.mark.parametrize("draw", [curves, noise])
def test_a_slow_machine_gets_no_warning_of_matplotlib(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It warns where it looks for the best place of a legend for more than a second."""
    monkeypatch.setattr("matplotlib.legend.Legend._find_best_position", lambda *_: pytest.fail("it looks for a place"))
    draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [curves, noise])
def test_an_interrupted_figure_leaves_no_file(draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Figure, path: Path, **__: object) -> None:
        Path(path).write_bytes(b"half")
        assert not (tmp_path / "figure.png").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "figure.png")
    assert [*tmp_path.iterdir()] == []
