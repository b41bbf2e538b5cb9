"""Outputs appear whole or not at all; temporary folders of killed processes are removed by a later process."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path

import pytest

from cae_shared import temporary
from cae_shared.temporary import discard_folder, make_temporary_folder, temporary_folder, whole_file


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


def test_a_file_gets_its_name_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.txt"

    def refused(number: int) -> None:
        def fsync(_: int) -> None:
            assert not output.exists()
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)
        with whole_file(output) as hidden:
            hidden.write_text("whole")

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        refused(errno.EIO)
    assert not [*tmp_path.iterdir()]
    refused(errno.EINVAL)  # the file system cannot
    assert output.read_text() == "whole"
