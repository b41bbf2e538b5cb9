"""A campaign's report as Markdown."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from tests.campaign.harness.findings import Outcome

_PACKAGES: Final = (
    "numpy",
    "opencv-python",
    "onnxruntime",
    "av",
    "pillow-heif",
    "rawpy",
    "imagecodecs",
    "torch",
    "onnx",
)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return tables of what ran and what was found."""
    lines = [
        "# Campaign", "", f"{cpu()}, Python {sys.version.split()[0]} on {platform.system()}; {_versions()}.", "",
        "| part | seed | cases | minutes | findings |", "| --- | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for each in outcomes:
        if each.not_run:
            lines.append(f"| {each.part} | {each.seed} | not run | | |")
            continue
        lines.append(f"| {each.part} | {each.seed} | {each.cases:,} | {each.seconds / 60:.1f} | {len(each.findings)} |")
    for each in outcomes:
        lines += ["", f"## {each.part}", "", *(f"- {note}" for note in each.notes)]
        lines += [f"- not run: {each.not_run}"] if each.not_run else []
        lines += [f"- {what}: {count:,}" for what, count in sorted(each.counts.items())]
        for found in each.findings:
            repeat = f"`python -m tests.campaign {each.part} --seed {each.seed} --only {found.case}`"
            lines += [
                f"- **{found.kind}**: {found.subject}; {repeat}",
                "",
                "      " + found.detail.replace("\n", "\n      "),
                "",
            ]
    return "\n".join(lines) + "\n"


def cpu() -> str:
    """Return the model of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
