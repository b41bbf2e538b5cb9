"""Hidden files that killed runs left behind are removed by a later run, and nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
from tests.runtime.conftest import FIXTURES

from cae_runtime import Restorer, clean_folder
from cae_shared.temporary import check_writable

OLD = time.time() - 8 * 86400
LEFT = ".0123456789abcdef.partial"


def lay(path: Path, when: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (when, when))
    return path


def test_leftovers_of_killed_runs_are_removed_after_a_week(tmp_path: Path) -> None:
    lay(tmp_path / LEFT)
    check_writable(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_files_in_use_or_of_other_programs_are_kept(tmp_path: Path) -> None:
    kept = {
        lay(tmp_path / LEFT, time.time() - 6 * 86400),  # of a process that may only be asleep
        lay(tmp_path / f"{LEFT}.mp4"),  # a recording, of which frames may be saved
        *(lay(tmp_path / name) for name in ("0123456789abcdef.partial", ".0123456789abcde.partial", ".x.partial")),
        lay(tmp_path / ".0123456789ABCDEF.partial"),
        lay(tmp_path / "below" / LEFT).parent,
    }
    (folder := tmp_path / ".fedcba9876543210.partial").mkdir()  # may hold a former export
    os.utime(folder, (OLD, OLD))
    (link := tmp_path / ".aaaaaaaaaaaaaaaa.partial").symlink_to(LEFT)
    os.utime(link, (OLD, OLD), follow_symlinks=False)
    check_writable(tmp_path)
    assert {*tmp_path.iterdir()} == {*kept, folder, link}


def test_leftovers_are_looked_for_in_all_output_folders(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in" / "deep" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    left = [lay(tmp_path / "out" / LEFT), lay(tmp_path / "out" / "deep" / LEFT), lay(tmp_path / "in" / LEFT)]
    with Restorer(FIXTURES / "identity.onnx") as restorer:
        clean_folder(tmp_path / "in", tmp_path / "out", restorer)
    assert [path.exists() for path in left] == [False, False, True]
