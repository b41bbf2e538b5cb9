"""The output of `cae-train --list`: one line on each data set, network, option, degradation and loss."""

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields

from cae_train.config import LOSSES
from cae_train.data.registry import DATASETS
from cae_train.degradations.registry import DEGRADATIONS
from cae_train.models import ARCHITECTURES, build, multiply_adds_per_pixel, weight_count


def listing() -> Iterator[str]:
    """The lines."""
    yield "data sets (--data; or a folder of photographs):"
    for name, data_set in DATASETS.items():
        yield f"  {name:<14}{data_set.summary}"
    yield ""
    yield "networks (--arch), their weights and KMAC/px, and their options (--model NAME=VALUE):"
    for name, architecture in ARCHITECTURES.items():
        network = build(name)
        cost = f"{weight_count(network):,} weights, {multiply_adds_per_pixel(network) / 1000:.1f} KMAC/px"
        yield f"  {name:<14}{architecture.summary} ({cost}; loss {network.loss})"
        options = architecture.options()
        chosen = (f"{item.name}={_written(getattr(options, item.name))}" for item in fields(options))
        yield f"{'':16}{' '.join(chosen)}"
        for line in _explained(architecture.options):
            yield f"{'':18}{line}"
    yield ""
    yield "degradations (--degrade NAME:LEVEL or NAME:LOW-HIGH; each patch draws one of several; repeat to chain):"
    for name, kind in DEGRADATIONS.items():
        yield f"  {name:<14}{kind.summary}" + (f" ({kind.levels})" if kind.levels else "")
    yield ""
    yield "losses (--loss; auto, the default, takes the network's own):"
    for name, summary in LOSSES.items():
        yield f"  {name:<14}{summary}"


def _explained(options: type) -> list[str]:
    """What the docstring of an options class says about each option."""
    text = inspect.getdoc(options) or ""
    return textwrap.dedent(text.partition("Attributes:\n")[2].partition("\n\nRaises:")[0]).splitlines()


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
