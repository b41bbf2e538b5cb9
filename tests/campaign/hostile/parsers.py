"""Pictures that grow towards code not reached yet, through the parsers of headers and metadata: needs Atheris."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings

_BYTES_MAX: Final = 2**16
_SECONDS: Final = 20  # that one file may take
_MEMORY: Final = 2048  # MiB
_DONE: Final = re.compile(r"Done (\d+) runs")
_REACHED: Final = re.compile(r"cov: (\d+)")


def run(settings: Settings) -> Outcome:
    """Run the parsers until the time or the cases are used up, or something is found."""
    outcome = Outcome("parsers", settings.seed)
    if importlib.util.find_spec("atheris") is None:
        outcome.not_run = "it needs pip install atheris (Linux, CPython up to 3.13)"
        return outcome
    from tests.campaign.corpora.pictures import PICTURES, picture

    began = time.monotonic()
    corpus, found = settings.folder / "corpus", settings.folder / "found"
    corpus.mkdir(parents=True)
    found.mkdir()
    for name in PICTURES:
        (corpus / name).write_bytes(picture(name))
    until = [f"-runs={settings.cases}"] if settings.cases is not None else []
    until += [f"-max_total_time={int(60 * settings.minutes)}"] if settings.minutes is not None else []
    words = [
        sys.executable, "-m", "tests.campaign.hostile.parsers", corpus, *until, f"-seed={settings.seed}",
        f"-max_len={_BYTES_MAX}",
        f"-timeout={_SECONDS}", f"-rss_limit_mb={_MEMORY}", f"-artifact_prefix={found}/",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    runs, reached = _DONE.findall(done.stderr), _REACHED.findall(done.stderr)
    outcome.cases = int(runs[-1]) if runs else 0
    outcome.notes.append(
        f"{len(PICTURES)} files became {len([*corpus.iterdir()])}; branches {reached[:1]} to {reached[-1:]}"
    )
    if done.returncode:
        outcome.found(-1, "crash", "a parser", (done.stdout + done.stderr)[-3000:])
        for path in found.iterdir():
            settings.keep(path.name, path.read_bytes())
    outcome.seconds = time.monotonic() - began
    return outcome


def _guided() -> None:
    import atheris

    with atheris.instrument_imports(include=["cae_runtime.io.headers", "cae_runtime.io.metadata"]):
        from cae_runtime.io.headers.inspect import inspect
        from cae_runtime.io.metadata import read, write
    import cv2
    import numpy as np

    from cae_runtime.errors import ImageError
    from cae_runtime.io.formats import JPEG, PNG
    from cae_runtime.io.headers.tiff_directory import DAMAGED

    pixels = np.zeros((2, 2, 3), np.uint8)
    encoded = {PNG: cv2.imencode(".png", pixels)[1].tobytes(), JPEG: cv2.imencode(".jpg", pixels)[1].tobytes()}

    def one(data: bytes) -> None:
        try:
            header = inspect(data)
        except ImageError:
            return
        metadata = read(data, header.format, header)
        for format, made in encoded.items():
            try:
                write(made, format, metadata, native=header.format == format)
            except DAMAGED:
                continue

    atheris.Setup([Path(__file__).name, *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    _guided()
