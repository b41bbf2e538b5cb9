"""What the unlucky places share: pictures, runs of the command, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tests.campaign.corpora.pictures import picture
from tests.campaign.harness.findings import what_is_wrong_with
from tests.campaign.harness.forked import Forked

from cae_runtime.errors import ImageError
from cae_runtime.io.image_files import decode

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
SECONDS: Final = 900.0
GOOD: Final = ("told.png", "told.jpg", "deflate.tif", "lossy.webp", "color.ppm", "photo.avif")
MODEL: Final = ("-m", FIXTURES / "identity.onnx", "--threads", 1)


@dataclass
class Run:
    """A command in a bad place, as it turned out."""

    code: int | None
    said: bytes
    folder: Path

    def problem(self, *codes: int, output: str = "out", hidden: int = 0) -> str:
        """Return what is wrong: another exit code, a traceback, an output that is not whole, hidden files."""
        told = self.said.decode(errors="backslashreplace")[-1500:]
        if self.code not in codes:
            return f"exit code {self.code}, not {' or '.join(map(str, codes))}: {told}"
        if wrong := what_is_wrong_with(self.said):
            return wrong
        found = [path for path in (self.folder / output).rglob("*") if path.is_file()]
        left = [path.name for path in found if path.name.startswith(".")]
        if len(left) > hidden:
            return f"leaves {left}"
        for path in found:
            try:
                decode(path.read_bytes())
            except ImageError as e:
                return f"{path.name!r} is not whole: {e}"
        return ""


Place = Callable[[Path, np.random.Generator], str]


def started(folder: Path, *words: object, before: Callable[[], object] | None = None) -> Forked:
    return Forked("cae_runtime", (*words, *MODEL), folder, folder / "log", before)


def ran(folder: Path, *words: object, before: Callable[[], object] | None = None) -> Run:
    run = started(folder, *words, before=before)
    if not run.wait(SECONDS):
        return Run(None, b"it did not end: " + run.said, folder)
    return Run(run.code, run.said, folder)


def lay_pictures(folder: Path, names: Sequence[str] = GOOD) -> None:
    (folder / "in").mkdir()
    for name in names:
        (folder / "in" / name).write_bytes(picture(name))
