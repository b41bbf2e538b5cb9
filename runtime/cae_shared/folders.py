"""Makes output folders of any depth."""

from __future__ import annotations

from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents; `Path.mkdir` recurses and fails at a depth of 1000.

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
