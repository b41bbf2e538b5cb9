"""Settings files changed by someone who knows TOML: other types, absurd values, names of any kind, nesting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.campaign.mutations.generic import Rng, blind, surely

_VALUES: Final = (
    "nan", "-inf", "1e400", "-1", "0", "9223372036854775808", "9" * 400, "9" * 5000, "0x" + "f" * 300,
    "0x" + "f" * 5000, "true", "''",
    "'\\u0000'", '"\\u0000\\u001b[31m"', "[]", "{}", "[1]", "[[1]]", "{a = 1}", "2020-01-01", "12:00:00", "['']",
    "['a', 'a']", "'a'", "'" + "a" * 100_000 + "'", "[" * 300 + "]" * 300, "[" * 3000, "{a=" * 200 + "1" + "}" * 200,
    "[0.5, nan]", "['gaussian:1e400', 'jpeg:-5']", "['gaussian:5-1']", "['holes:']", "'../../x'", "'/dev/zero'",
)  # fmt: skip
_LINES: Final = (
    "__class__ = 1", "'' = 1", "[model]", "[noise]", "[[model]]", "[a.b.c]", ".".join("a" * 60) + " = 1",
    ".".join("a" * 2000) + " = 1", "\ufefflr = 1", "lr = 1\rlr = 2", "model = 5", "vgg16_weights = 'x'", "\0",
)  # fmt: skip


def toml_changed(lines: Sequence[str], others: Sequence[str], rng: Rng) -> bytes:
    """Return a settings file that was changed once or several times, and is not what it was.

    Args:
        lines: of a whole file.
        others: lines of other files.
        rng: decides everything.
    """
    return surely(lambda: _several(lines, others, rng), "\n".join(lines).encode())


def _several(lines: Sequence[str], others: Sequence[str], rng: Rng) -> bytes:
    made = list(lines)
    for _ in range(int(rng.choice([1, 1, 2, 5]))):
        at, kind = int(rng.integers(len(made))), int(rng.integers(4))
        if kind == 0:
            made[at] = made[at].partition("=")[0] + "= " + _VALUES[int(rng.integers(len(_VALUES)))]
        elif kind == 1:
            made.insert(at, _LINES[int(rng.integers(len(_LINES)))])
        elif kind == 2:
            made.insert(at, others[int(rng.integers(len(others)))])
        else:
            name = others[int(rng.integers(len(others)))].partition("=")[0]
            made.append(f"{name} = {_VALUES[int(rng.integers(len(_VALUES)))]}")
    data = "\n".join(made).encode()
    return blind(data, rng) if rng.random() < 0.2 else data
