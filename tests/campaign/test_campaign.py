"""A short run of each part of the campaign, in a process of its own: some parts fork it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.campaign.parity import PRECISIONS, exported

ROOT = Path(__file__).parents[2]
SHORT = {
    "images": 50, "models": 30, "videos": 25, "training": 40, "kills": 6, "places": 20, "secrets": 5, "soak": 13,
    "parsers": 200,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, mounts, and reads /proc")
@pytest.mark.parametrize("part", SHORT)
def test_a_short_campaign_finds_nothing(part: str, tmp_path: Path) -> None:
    if part == "parsers":
        pytest.importorskip("atheris", reason="the others do not need it")
    words = ["--cases", str(SHORT[part]), "--seed", "6", "--first", "2", "--report", str(tmp_path / "report.md")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", part, *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    report = (tmp_path / "report.md").read_text() if (tmp_path / "report.md").exists() else ""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"| {part} | 6 |" in report


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parity_exports_each_precision(precision: str, tmp_path: Path) -> None:
    """The releases of onnxruntime that `parity` then runs are downloaded, so a long campaign alone does that."""
    assert exported(tmp_path, "file", "skip", precision, 18) == "equal"
