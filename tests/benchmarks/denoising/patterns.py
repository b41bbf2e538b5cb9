"""How much of the contrast of fine regular patterns models keep: meshes, weaves, gratings, checkerboards.

    python -m tests.benchmarks.denoising.patterns [--model NAME ...] [--sigma 3 10]

Each pattern is drawn between two grays, straight and turned by 23 and 45 degrees, with white noise of a fixed seed. A
figure is the contrast of the cleaned pattern divided by that of the clean one, the least of the three directions: 1
keeps the pattern, 0 wipes it out.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from cae_runtime import Restorer

SIDE, DARK, LIGHT = 128, 60, 150
TURNS = (0.0, 0.4, np.pi / 4)  # radians
PERIODS = {"grating": (2.5, 3.5, 5, 7, 9), "mesh": (2.5, 3.5, 5, 7, 9), "weave": (2.5, 3.5, 5, 7, 9),
           "checkers": (1, 2, 3)}  # fmt: skip # in pixels; of checkers the side of a square


def pattern(kind: str, period: float, turn: float) -> NDArray[np.float64]:
    """A clean pattern, SIDE x SIDE x 3, in gray levels of 255, nearly gray; checkers ignore `turn`."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    u, v = ((x * np.cos(a) + y * np.sin(a)) * 2 * np.pi / period for a in (turn, turn + np.pi / 2))
    wave = {
        "grating": np.cos(u),
        "mesh": (np.cos(u) + np.cos(v)) / 2,
        "weave": np.cos(u) * np.cos(v),
        "checkers": (x // period + y // period) % 2 * 2 - 1,
    }[kind]
    return (DARK + (LIGHT - DARK) * (wave + 1) / 2)[:, :, None] * np.array((0.95, 1.0, 1.05))


def kept(restore: Restorer, kind: str, period: float, sigma: float) -> float:
    """The share of the contrast that cleaning keeps, the least of all directions; checkers have one."""
    found = []
    for turn in TURNS[:1] if kind == "checkers" else TURNS:
        clean = pattern(kind, period, turn)
        noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
        noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        cleaned = restore(noisy).astype(np.float64)
        wave = clean - clean.mean((0, 1))
        found.append(float((cleaned * wave).sum() / (wave * wave).sum()))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--sigma", type=float, nargs="+", default=[3, 10])
    args = parser.parse_args()
    columns = [f"{kind} {period:g}" for kind, periods in PERIODS.items() for period in periods]
    print(f"| model | sigma | {' | '.join(columns)} |")
    print(f"| --- | ---: |{' ---: |' * len(columns)}")
    for name in args.model or ["denoise"]:
        with Restorer(name) as restore:
            for sigma in args.sigma:
                figures = [kept(restore, kind, each, sigma) for kind, periods in PERIODS.items() for each in periods]
                print(f"| `{name}` | {sigma:g} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)


if __name__ == "__main__":
    main()
