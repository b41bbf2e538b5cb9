"""A short run of each part of the campaign."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tests.campaign.report import as_markdown
from tests.campaign.settings import Settings

SHORT = {"images": 120, "models": 60}


@pytest.mark.slow
@pytest.mark.parametrize("part", SHORT)
def test_a_short_campaign_finds_nothing(part: str, tmp_path: Path) -> None:
    settings = Settings(seed=5, folder=tmp_path / "work", cases=SHORT[part], findings=tmp_path / "kept")
    outcome = importlib.import_module(f"tests.campaign.{part}").run(settings)
    assert not outcome.findings, as_markdown([outcome])
    assert outcome.cases == SHORT[part]
    assert f"| {part} | 5 | {outcome.cases} |" in as_markdown([outcome])
