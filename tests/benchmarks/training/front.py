"""Draws the front of a search: the PSNR of each network against its speed, in fp32 and in int8."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def label(axes: Any, names: Sequence[str], places: Sequence[tuple[float, float]]) -> None:
    """Write each name beside its point, on the first of four sides where it covers no other name or point."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    height = 0.02 * (top - bottom)
    taken = [(x, x, y - height / 3, y + height / 3) for x, y in places]  # left, right, bottom, top

    def free(box: tuple[float, float, float, float]) -> bool:
        return not any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in taken)

    for name, (x, y) in zip(names, places, strict=True):
        length, gap = 0.013 * len(name) * (right - left), 0.008 * (right - left)
        boxes = [
            (x + side * gap + min(side, 0) * length, x + side * gap + max(side, 0) * length, low, low + height)
            for low in (y, y - height)
            for side in (1, -1)
        ]
        box = next(filter(free, boxes), boxes[0])
        taken.append(box)
        before = int(box[1] < x)
        axes.text(box[before], box[2] + height / 2, name, fontsize=8, va="center", ha="right" if before else "left")


def draw(points: Sequence[Point], packaged: Collection[str], unit: str, path: Path) -> None:
    """Draw the points of both precisions side by side, with a line along each front, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
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
        axes.set(title=title, xlabel=f"speed ({unit})", ylabel="PSNR on held-out patches, dB")
        axes.margins(x=0.2)
        label(axes, [point.name for point in points], places)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=100)
