"""Passwords of addresses are never told by any command, and nothing is written besides the outputs.

The addresses go to options that take one, and to others that take a path, of all three commands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tests.campaign.corpora.models import tensor_files
from tests.campaign.corpora.pictures import picture
from tests.campaign.harness.findings import Outcome, what_is_wrong_with
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.workers import Worker

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
SECONDS: Final = 60.0  # of CPU time
SECRET: Final = "Tr0ub4dor"  # noqa: S105 - it is none
_OF_TORCH: Final = "tmp/torchinductor_"  # an empty folder, which PyTorch makes as it is imported
_MODEL: Final = ("-m", FIXTURES / "identity.onnx")
_SCHEMES: Final = (
    "rtsp", "rtsps", "rtmp", "http", "https", "srt", "udp", "s3", "gs", "az", "ftp", "RTSP", "sftp",
)  # fmt: skip
_HOSTS: Final = (
    "127.0.0.1:1", "127.0.0.1:1/stream", "[::1]:1/a.mp4", "127.0.0.1:99999/x", "127.0.0.1:1/a@b", "127.0.0.1:x", "",
)  # fmt: skip
_USERS: Final = (
    f"user:{SECRET}@", f":{SECRET}@", f"user:{SECRET}%40x@", f"us@er:{SECRET}@", f"user:{SECRET}:x@",
    f"user:{SECRET}/x@", f"user:{SECRET}#x@", f"user:{SECRET}?x@", f"u%3A{SECRET}@",
)  # fmt: skip
_SIGNED: Final = ("http", "rt", "srt", "udp", "RT")  # whose query may be secret; in a store it is a part of a name
_QUERIES: Final = (
    "", "", f"?password={SECRET}", f"?token={SECRET}&x=1", f"?X-Amz-Signature={SECRET}", f"?sig={SECRET}",
)  # fmt: skip
_NAMES: Final = {"cae_runtime": "cae-run", "cae_train": "cae-train", "cae_export": "cae-export"}


def run(settings: Settings) -> Outcome:
    """Try addresses until the time or the cases are used up, and look at what the commands write."""
    outcome = Outcome("secrets", settings.seed)
    began = time.monotonic()
    if settings.only is None and settings.first == 0:  # a training and an export: it takes a minute
        found = _written_besides(settings.folder / "home")
        for wrong in found:
            outcome.found(-1, "written", "besides the outputs", wrong)
        if not found:
            outcome.notes.append("cae-run, cae-train and cae-export wrote nothing besides their outputs")
    model = tensor_files()[0]
    with Worker({"OPENCV_FFMPEG_CAPTURE_OPTIONS": "timeout;100000|stimeout;100000"}) as worker:
        for number in settings.numbers():
            _tell(settings, outcome, worker, number, model)
            settings.tell(outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _tell(settings: Settings, outcome: Outcome, worker: Worker, number: int, model: bytes) -> None:
    """Name an address with a password to a command that cannot use it, and look for the password."""
    rng = np.random.default_rng([settings.seed, number, 7])
    folder = settings.folder / "secrets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = [choices[int(rng.integers(len(choices)))] for choices in (_SCHEMES, _USERS, _HOSTS, _QUERIES)]
    query = parts[3] if parts[0].startswith(_SIGNED) else ""
    address = f"{parts[0]}://{parts[1]}{parts[2]}{query}"
    uses = _uses_of(address)
    package, words = uses[int(rng.integers(len(uses)))]
    (folder / "in.png").write_bytes(picture("told.png"))
    (folder / "model.pt").write_bytes(model)
    _lay_photos(folder / "photos")
    ran = worker.run(package, words, SECONDS, cwd=str(folder))
    outcome.cases += 1
    outcome.counts[f"{_NAMES[package]}: exit code {ran.code}"] += 1
    subject = f"{_NAMES[package]} {' '.join(map(str, words))}"
    if ran.death:
        outcome.found(number, ran.death, subject, ran.err.decode(errors="replace"))
    elif told := what_is_wrong_with(ran.err):
        outcome.found(number, "traceback", subject, told)
    elif SECRET.encode() in ran.err + ran.out:
        outcome.found(number, "secret", subject, (ran.err + ran.out).decode(errors="replace")[-800:])
    elif any(SECRET in str(path) for path in folder.rglob("*")):
        outcome.found(number, "secret", subject, f"in the names of files: {[*map(str, folder.rglob('*'))]}")


def _uses_of(address: str) -> list[tuple[str, Sequence[object]]]:
    """Return the commands that an address is given to: package and words."""
    camera = ("--camera", address, "--no-window", "--frames", 1)
    cleaning: tuple[Sequence[object], ...] = (
        camera, (*camera, "--json", "-v"), (address, "-o", "out"), (address, "-o", "out", "--json"),
        ("in.png", "-o", address), ("in.png", "-o", "out", "--mask", address), (address, "-o", "-"),
        ("--watch", address, "-o", "out"), ("--analyze", address), (address, "--sheet", "a.png"),
    )  # fmt: skip
    training: tuple[Sequence[object], ...] = (
        ("--data", address), ("--vgg16-weights", address, "--arch", "vgg16"), ("--start", address),
        ("--teacher", address), ("--config", address), ("--resume", address), ("--burst", address, "--frames", 2),
        ("--noise-from", address), ("--preview-degradation", address), ("--data", "photos", "--out", address),
        ("--data", "photos", "--save-pairs", address),
    )  # fmt: skip
    export: tuple[Sequence[object], ...] = (
        (address,), ("model.pt", "--data", address), ("--check", address, "--against", "model.pt"),
        ("--check", "in.png", "--against", address), (address, "--calibrate", "."), ("in.png", "--calibrate", address),
        ("model.pt", "-o", address, "--data", "photos"),
        ("model.pt", "--to", "openvino", "-o", address, "--data", "photos"),
    )  # fmt: skip
    return [
        *(("cae_runtime", (*words, *_MODEL)) for words in cleaning),
        ("cae_runtime", ("in.png", "-o", "out", "-m", address)),
        *(("cae_train", words) for words in training),
        *(("cae_export", words) for words in export),
    ]


def _lay_photos(folder: Path) -> None:
    """Write two pictures that are large enough to train on."""
    folder.mkdir()
    for at in range(2):
        pixels = np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{at}.png"), cv2.resize(pixels, (96, 96)))


def _written_besides(folder: Path) -> list[str]:
    """Run each command with an empty home, and return what it wrote besides its outputs."""
    shutil.rmtree(folder, ignore_errors=True)
    places = {name: folder / name for name in ("home", "tmp", "work")}
    for place in places.values():
        place.mkdir(parents=True)
    pictures = places["work"] / "in"
    pictures.mkdir()
    (pictures / "told.png").write_bytes(picture("told.png"))
    _lay_photos(places["work"] / "train")
    train = ("--data", "train", "--epochs", 1, "--epoch-crops", 32, "--batch", 16, "--workers", 0, "--out", "run")
    commands: tuple[tuple[str, Sequence[object], set[str]], ...] = (
        ("cae_runtime", ("in", "-o", "out", *_MODEL), {"out"}),
        ("cae_runtime", ("in", "-o", "out.csv", "-m", FIXTURES / "encode.onnx"), {"out.csv"}),
        ("cae_runtime", ("--doctor",), set()),
        ("cae_train", train, {"run"}),
        ("cae_export", ("run/model.pt", "-o", "model.onnx", "--data", "train"), {"model.onnx"}),
    )
    known, wrong = {"in", "train"}, []
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    environment |= {"HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "PYTHONDONTWRITEBYTECODE": "1"}
    for package, words, outputs in commands:
        line = [sys.executable, "-m", package, *map(str, words)]
        done = subprocess.run(line, cwd=places["work"], env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            wrong.append(f"{package} {words[0]}: exit code {done.returncode}: {done.stderr[-800:]}")
        known |= outputs
        found = {path.name for path in places["work"].iterdir()} - known
        found |= {str(path.relative_to(folder)) for name in ("home", "tmp") for path in places[name].rglob("*")}
        found = {name for name in found if not name.startswith(_OF_TORCH)}
        if found:
            wrong.append(f"{package} {words[0]}: {sorted(found)}")
    return wrong
