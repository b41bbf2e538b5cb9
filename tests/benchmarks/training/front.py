"""Draws the front of a search: the PSNR of each network against its speed, in fp32 and in int8."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """A network: PSNR in dB of fp32 and of int8, and the speeds of both."""

    name: str
    psnr: tuple[float, float]
    speed: tuple[float, float]


def on_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points (speed, PSNR) that no other equals or beats in both, the fastest first."""
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (-points[place][0], -points[place][1])):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def draw(points: Sequence[Point], packaged: Collection[str], unit: str, path: Path) -> None:
    """Draw the points of both precisions side by side, with a line along each front, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    for column, title in enumerate(("fp32", "int8, without training for it")):
        axes = figure.add_subplot(1, 2, column + 1)
        places = [(point.speed[column], point.psnr[column]) for point in points]
        front = on_front(places)
        axes.plot(*zip(*(places[place] for place in front), strict=True), color="tab:blue", lw=1, label="front")
        for kind, color in (("packaged", "tab:red"), ("on the front", "tab:blue"), ("below it", "0.6")):
            axes.plot([], [], "o", color=color, label=kind)
        for place, (point, (speed, psnr)) in enumerate(zip(points, places, strict=True)):
            ours = point.name in packaged
            axes.plot(speed, psnr, "o", color="tab:red" if ours else "tab:blue" if place in front else "0.6")
            axes.annotate(point.name, (speed, psnr), (4, 4), textcoords="offset points", fontsize=8)
        axes.set(title=title, xlabel=f"speed ({unit})", ylabel="PSNR on held-out patches, dB")
        axes.margins(x=0.15)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=100)
