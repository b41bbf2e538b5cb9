"""Folders for outputs, however deep they lie."""

from __future__ import annotations

from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing; `Path.mkdir` recurses, and fails below 1000 of them.

    Raises:
        OSError: one cannot be made.
    """
    missing = []
    for place in (folder, *folder.parents):
        try:
            place.mkdir(exist_ok=True)
            break
        except FileNotFoundError:
            missing.append(place)
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
