"""Lists the system's cameras without opening them; needs no library."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_VIDEO_DEVICES: Final = Path("/sys/class/video4linux")


def listed_cameras(devices: Path = _VIDEO_DEVICES) -> dict[int, str]:
    """Return the cameras that Linux lists, number -> name, without opening them. Other systems have no such list."""
    found = {}
    for device in devices.glob("video*"):
        number = device.name.removeprefix("video")
        try:
            if number.isdigit() and (device / "index").read_text().strip() == "0":  # the others carry metadata
                found[int(number)] = (device / "name").read_text().strip()
        except OSError:
            continue
    return dict(sorted(found.items()))
