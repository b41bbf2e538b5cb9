"""The table of scores of a folder of heat maps, `scores.csv`: one row per picture, also of earlier calls."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cae_runtime.errors import UsageError

TABLE: Final = "scores.csv"
_COLUMNS: Final = (
    "path", "score", "threshold", "anomaly", "status", "reason", "heat_map", "raw_map", "mask", "model",
)  # fmt: skip
_BYTES_MAX: Final = 2**28
Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Verdict:
    """The result of one picture; if it failed, `score` and `anomaly` are None and `heat_map` is empty.

    Attributes:
        source: the picture.
        status: `done`; `skipped`: its score or its heat map is that of an earlier call; or `failed`.
        reason: why it failed.
        heat_map: the file of its heat map.
        raw_map: the file of the scores of its pixels; empty if there is none.
        mask: the file of its defect mask; empty if there is none.
        score: 0 or more.
        anomaly: whether the score is above the threshold.
        label: `bad` for a picture that is known to be bad, otherwise empty.
        note: how it differs from good pictures in ways that change its score; empty if it does not, or was not opened.
        node: the node of a cluster that scored it; empty for this machine.
    """

    source: str
    status: Status
    reason: str = ""
    heat_map: str = ""
    raw_map: str = ""
    mask: str = ""
    score: float | None = None
    anomaly: bool | None = None
    label: str = ""
    note: str = ""
    node: str = ""

    def document(self) -> dict[str, Any]:
        """Return the entry of the `--json` report."""
        row = asdict(self)
        if not self.node:
            del row["node"]
        return row


def read_table(path: Path, model: str) -> dict[str, tuple[str, float]]:
    """Return the scores of earlier calls: from each heat map, relative to the folder, to its source and score.

    Args:
        path: the table; it may be missing.
        model: what identifies the model of this call.

    Raises:
        UsageError: it is no such table, or that of another model.
    """
    rows = _rows(path)
    try:
        found = [(row["model"], row["heat_map"], row["path"], float(row["score"])) for row in rows if row["score"]]
    except (KeyError, ValueError, TypeError, csv.Error) as e:
        raise UsageError(
            f"table {str(path)!r} is not one that this version wrote: overwrite=True replaces it, or name another "
            "folder"
        ) from e
    for other in {row[0] for row in found} - {model}:
        raise UsageError(
            f"table {str(path)!r} has scores of {other.rpartition(' ')[0]!r}, or of another region, which do not "
            "compare with new ones: overwrite=True scores all pictures anew, or name another folder"
        )
    return {heat_map: (source, score) for _, heat_map, source, score in found}


def results_in(path: Path) -> list[tuple[str, list[str]]]:
    """Return the picture and the results of each row of a table, of any model; empty if the file is no such table.

    Results are relative to the folder of the table.

    Raises:
        UsageError: it cannot be read.
    """
    with contextlib.suppress(KeyError, csv.Error):
        return [
            (row["path"] or "", [name for key in ("heat_map", "raw_map", "mask") if (name := row.get(key) or "")])
            for row in _rows(path)
        ]
    return []


def _rows(path: Path) -> Iterable[dict[str, str]]:
    try:
        data = path.read_bytes()[:_BYTES_MAX]
    except FileNotFoundError:
        return []
    except OSError as e:
        raise UsageError(f"table {str(path)!r} cannot be read: {e.strerror}") from e
    return csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))


def written_table(verdicts: Iterable[Verdict], threshold: float, folder: Path, model: str) -> bytes:
    """Return the table of the given verdicts, in their order, with LF at the ends of lines."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in verdicts:
        score, anomaly = ("", "") if one.score is None else (f"{one.score:.8g}", str(int(bool(one.anomaly))))
        results = [inside(folder, name) if name else "" for name in (one.heat_map, one.raw_map, one.mask)]
        status = "failed" if one.score is None else "done"
        table.writerow([one.source, score, f"{threshold:.8g}", anomaly, status, one.reason, *results, model])
    return text.getvalue().encode(errors="surrogateescape")


def inside(folder: Path, path: str | Path) -> str:
    """Return a path below a folder, with `/`, as the table has it."""
    return Path(path).relative_to(folder).as_posix()
