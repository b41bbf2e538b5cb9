"""What must be true of the outputs of `--analyze`, features, anomalies and sheets: they are whole, and about all files.

A sheet does not say which files it shows: only that it can be read is checked.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from tests.campaign.harness.workers import Ran

from cae_runtime.errors import ImageError
from cae_runtime.io.image_files import decode

Problem = tuple[str, str] | None
Check = Callable[[Ran, Collection[str], Path], Problem]


def damage(path: Path) -> str:
    """Return why a picture cannot be read; empty: it can."""
    try:
        decode(path.read_bytes())
    except (ImageError, OSError) as e:
        return str(e)
    return ""


def parsed(data: bytes) -> Any:
    """Return what a JSON report says.

    Raises:
        ValueError: it is none, or has a number that JSON does not have, such as NaN.
    """

    def refuse(word: str) -> float:
        raise ValueError(f"the report has the number {word}")

    return json.loads(data, parse_constant=refuse)


def _analysis(ran: Ran, names: Collection[str], _: Path) -> Problem:
    report = parsed(ran.out)
    return _listed(ran, _names(report["files"]), _names(report["failed"]), names)


def _features(ran: Ran, names: Collection[str], folder: Path) -> Problem:
    header, *rows = csv.reader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8"), newline=""))
    for row in rows:
        if len(row) != len(header) or not all(math.isfinite(float(word)) for word in row[1:]):
            return "output", f"table.csv has the row {row}"
    done = [Path(row[0]).name for row in rows]
    return _listed(ran, done, [name for name in names if name not in done], names)


def _anomalies(ran: Ran, names: Collection[str], folder: Path) -> Problem:
    files = parsed(ran.out)["files"]
    done, failed = ([each for each in files if each["status"] == status] for status in ("done", "failed"))
    if wrong := _listed(ran, _names(done), _names(failed), names):
        return wrong
    for each in done:
        if not isinstance(each["score"], float) or (why := damage(folder / each["heat_map"])):
            return "output", f"{each['source']} has the score {each['score']}, and its heat map: {why}"
    if why := damage(folder / "maps" / "sheet.png"):
        return "output", f"maps/sheet.png cannot be read: {why}"
    rows = [*csv.DictReader(io.StringIO((folder / "maps" / "scores.csv").read_text(encoding="utf-8"), newline=""))]
    told = {Path(row["path"]).name for row in rows if row["status"] == "done"}
    return None if told == {*_names(done)} else ("report", f"scores.csv is about other files: {sorted(told)}")


def _sheet(_: Ran, __: Collection[str], folder: Path) -> Problem:
    why = damage(folder / "sheet.png")
    return ("output", f"sheet.png cannot be read: {why}") if why else None


def _names(files: list[dict[str, Any]]) -> list[str]:
    return [Path(each["source"]).name for each in files]


def _listed(ran: Ran, done: list[str], failed: list[str], names: Collection[str]) -> Problem:
    """Each file is told of once, and the exit code says whether one failed."""
    if sorted([*done, *failed]) != sorted(names):
        return "report", f"is about other files: {sorted({*done, *failed} ^ {*names})}"
    if ran.code != bool(failed):
        return "code", f"exit code {ran.code} with {len(failed)} failed files"
    return None


_CHECKS: Final[dict[str, tuple[Check, str]]] = {  # by use, with what it writes
    "analyze": (_analysis, ""), "features": (_features, "table.csv"), "anomalies": (_anomalies, "maps"),
    "contact sheet": (_sheet, "sheet.png"),
}  # fmt: skip


def wrong_output(use: str, ran: Ran, names: Collection[str], good: Collection[str], folder: Path) -> Problem:
    """Return the kind and the details of what is wrong with the output of a use that writes no file for each picture.

    Args:
        use: its name.
        ran: what the command did.
        names: of all files that it was given.
        good: of those that cannot fail.
        folder: that it ran in.
    """
    check, output = _CHECKS[use]
    try:
        if wrong := check(ran, names, folder):
            return wrong
    except (OSError, KeyError, TypeError, ValueError) as e:
        return "output", f"{use}: {type(e).__name__}: {e}; {ran.out[:300]!r}"
    if lost := [name for name in good if f"failed: 'in/{name}'" in ran.err.decode(errors="replace")]:
        return "lost", f"the good files {lost} failed"
    left = {path.name for path in folder.iterdir()} - {"in", output}
    return ("left", f"files were left or written: {sorted(left)}") if left else None
