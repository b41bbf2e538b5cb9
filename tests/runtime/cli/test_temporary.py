"""Temporary folders of killed processes are removed by a later process."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from cae_shared import temporary
from cae_shared.temporary import discard_folder, make_temporary_folder, temporary_folder


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_only_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_swept", set())
    living = make_temporary_folder("cae-copy-")
    dead, young, strange = (tmp_path / f"cae-copy-{name}" for name in ("0" * 16, "1" * 16, "of-somebody"))
    for folder in (dead, young, strange):
        folder.mkdir()
    (dead / "copy.mp4").touch()
    for folder in (living, dead, strange):
        os.utime(folder, (0, 0))
    temporary._swept.clear()
    with temporary_folder("cae-copy-") as own:
        assert sorted(tmp_path.iterdir()) == sorted([living, young, strange, own])
    discard_folder(living)
    assert sorted(tmp_path.iterdir()) == sorted([young, strange])
