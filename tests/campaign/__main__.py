"""Hostile and unlucky input against every command: `python -m tests.campaign [--minutes N] [--seed S] [PART ...]`."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.report import as_markdown
from tests.campaign.harness.settings import Settings

PARTS: Final = {  # what each does; its module is in `hostile` or `unlucky`, or here
    "hostile.images": "mutated pictures of every kind",
    "hostile.parsers": "pictures that Atheris (pip install atheris) grows, through the parsers of headers and metadata",
    "hostile.models": "mutated .onnx and .pt files",
    "hostile.training": "mutated pictures, clips and settings through cae-train",
    "hostile.videos": "mutated clips, playlists in disguise, streams that stop",
    "unlucky.kills": "signals at random moments",
    "unlucky.secrets": "passwords in addresses, and what is written besides the outputs",
    "unlucky.soak": "a camera that is pulled, and folders, for minutes",
    "unlucky.places": "full, read-only, vanishing folders; names of any bytes; links in circles; very many files",
    "parity": "networks, precisions and operator sets in several releases of onnxruntime",
}

_ON_REQUEST: Final = "parity"  # it installs packages


def main() -> int:
    """Run the parts that are asked for; return 1 if something was found, or if a part ran no case."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    modules = {path.rpartition(".")[2]: path for path in PARTS}
    listed = ", ".join(f"{name} ({PARTS[path]})" for name, path in modules.items())
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{listed}; default: all but parity", choices=[*modules, []]
    )
    parser.add_argument(
        "--minutes", type=float, help="for each part, after its preparation; default: until --cases are done"
    )
    parser.add_argument("--cases", type=int, help="of each part at most; default: 1000, with --minutes no limit")
    parser.add_argument("--first", type=int, default=0, help="number of the first case; to go on where a run ended")
    parser.add_argument("--seed", type=int, default=1, help="decides all cases")
    parser.add_argument("--only", type=int, help="the one case to repeat")
    parser.add_argument("--report", type=Path, help="write a report as Markdown", metavar="FILE")
    parser.add_argument("--keep", type=Path, help="keep files that something was found with", metavar="FOLDER")
    parser.add_argument(
        "--picture", action="append", default=[], metavar="NAME", dest="pictures",
        help="a kind that `images` changes, such as camera.dng (see tests/campaign/corpora/pictures.py); default: all; "
        "may be repeated, and a name that is there twice is taken twice as often",
    )  # fmt: skip
    given = parser.parse_args()
    cases = given.cases if given.cases is not None or given.minutes is not None else 1000
    outcomes: list[Outcome] = []
    for part in given.parts or [part for part in modules if part != _ON_REQUEST]:
        folder = Path(tempfile.mkdtemp(prefix="campaign-", dir=_memory()))
        try:
            settings = Settings(
                given.seed, folder, given.minutes, cases, given.only, given.first, given.keep, tuple(given.pictures)
            )  # fmt: skip
            outcomes.append(importlib.import_module(f"tests.campaign.{modules[part]}").run(settings))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if given.report is not None:
            given.report.write_text(as_markdown(outcomes), encoding="utf-8")
    print(as_markdown(outcomes))
    idle = [outcome.part for outcome in outcomes if not outcome.cases and not outcome.not_run]
    for part in idle:
        print(
            f"tests.campaign: {part} ran no case, so it shows nothing: give it more --minutes or --cases",
            file=sys.stderr,
        )
    return int(bool(idle) or any(outcome.findings for outcome in outcomes))


def _memory() -> str | None:
    """Return a folder in memory, if there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - mkdtemp makes a folder of its own there


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: its threads do not survive a fork
    sys.exit(main())
