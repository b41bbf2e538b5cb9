"""`curves.png`: the figures of a run over its epochs."""

import itertools
from pathlib import Path

from cae_shared.temporary import whole_file

COLUMNS = ("epoch", "train_loss", "val_loss", "train_psnr", "val_psnr", "noisy_psnr", "lr", "seconds")
STAGE = "stage"  # a column of networks that are trained in stages; their further figures have columns too
TITLES = {"active": "share of active units of the code", "kl": "KL of the code (nats a patch)"}
UNCORRUPTED = 58.0  # dB: input of this PSNR or more is its own target; 58.92 is the bound of `cae_train.metrics.psnr`


def further_columns(rows: list[dict[str, str]]) -> list[str]:
    """Columns of figures that not every run has; rows from before an upgrade may lack them."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS))


def import_plotting() -> None:
    """Import what `draw_curves` needs, so that no import falls into a training.

    A signal during an import ends the process at once, without a word on the model that is there.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.figure
    import matplotlib.ticker  # noqa: F401


def draw_curves(path: Path, rows: list[dict[str, str]]) -> None:
    """Training and validation loss and PSNR over the epochs, so that overfitting shows; stages, and further figures.

    No line joins two stages: their losses are of different things.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    further = [name for name in further_columns(rows) if name != STAGE]
    titles = {"loss": "loss", "psnr": "PSNR (dB)"} | {name: TITLES.get(name, name) for name in further}
    stages = [list(part) for _, part in itertools.groupby(rows, key=lambda row: row.get(STAGE))]
    first, last = int(rows[0]["epoch"]) - 0.5, int(rows[-1]["epoch"]) + 0.5
    marker = "o" if len(rows) < 30 else None
    figure = Figure(figsize=(5 * len(titles), 4), layout="constrained")
    axes = figure.subplots(1, len(titles))
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        parts = {f"train_{name}": "training", f"val_{name}": "validation"} if name in ("loss", "psnr") else {name: ""}
        for column, label in parts.items():
            epochs, values = _broken(stages, "epoch"), _broken(stages, column)
            axis.plot(epochs, values, label=label, marker=marker, ms=3)
        if name == "psnr" and float(rows[-1]["noisy_psnr"]) < UNCORRUPTED:
            axis.axhline(float(rows[-1]["noisy_psnr"]), color="gray", ls=":", label="degraded input")
        axis.set(xlabel="epoch", title=title, xlim=(first, last))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if STAGE in rows[-1]:
            begins = [int(stage[0]["epoch"]) - 0.5 for stage in stages]
            for begin in begins[1:]:
                axis.axvline(begin, color="gray", lw=0.8)
            middles = [(begin + end) / 2 for begin, end in itertools.pairwise([*begins, last])]
            above = axis.secondary_xaxis("top")
            above.set_xticks(middles, [stage[0].get(STAGE, "") for stage in stages], fontsize=8)
            above.tick_params(length=0)
        if "" not in parts.values():
            # Below the curves, so that it covers none; Matplotlib looks for a free place too slowly.
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=100, format="png")


def _broken(stages: list[list[dict[str, str]]], column: str) -> list[float]:
    """A column's values, with a gap (NaN) after each stage."""
    return [value for rows in stages for value in (*(float(row.get(column) or "nan") for row in rows), float("nan"))]
