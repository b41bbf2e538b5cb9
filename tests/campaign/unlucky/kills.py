"""Signals at random moments: outputs are whole or absent, and the next run ends with the bytes of a quiet one."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tests.campaign.corpora.clips import Frames
from tests.campaign.corpora.pictures import picture
from tests.campaign.harness.findings import Outcome, what_is_wrong_with
from tests.campaign.harness.forked import Forked
from tests.campaign.harness.settings import Settings
from tests.runtime.clips import make_clip

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SECONDS: Final = 3600.0  # of the clock, since other work on the machine may slow a run down
_HIDDEN: Final = re.compile(r"\.[0-9a-f]{16}\.partial.*")
_FOLDER: Final = (
    "told.png",
    "deep.png",
    "told.jpg",
    "lossy.webp",
    "deflate.tif",
    "photo.avif",
    "moving.png",
    "color.ppm",
)
_LONG_AGO: Final = 1_600_000_000.0
_LEFT_MAX: Final = 3  # hidden files that one SIGKILL may leave: a picture that is written, and what goes before

Snapshot = Mapping[str, object]


@dataclass
class Job:
    """A command that is disturbed.

    Attributes:
        package: the package of the command.
        words: what is typed; run in a folder that `prepare` filled.
        again: gives what is typed the next time.
        prepare: fills the folder.
        seen: what is compared of the folder.
        share: of the cases.
        partly: names that an interrupted run may leave besides, or that may be unfinished then.
        seconds: how long a run takes, as far as is known.
    """

    package: str
    words: tuple[object, ...]
    again: Callable[[Path], tuple[object, ...]]
    prepare: Callable[[Path], None]
    seen: Callable[[Path], Snapshot]
    share: float
    partly: str = ""
    seconds: float = 0.0
    wanted: Snapshot = field(default_factory=dict)


def run(settings: Settings) -> Outcome:
    """Disturb runs until the time or the cases are used up."""
    outcome = Outcome("kills", settings.seed)
    began = time.monotonic()
    jobs = _jobs()
    shares = np.cumsum([job.share for job in jobs.values()])
    left = 0
    for number in settings.numbers():
        rng = np.random.default_rng([settings.seed, number, 4])
        name = [*jobs][int(np.searchsorted(shares, rng.random() * shares[-1]))]
        left = max(left, _disturb(settings, outcome, number, name, jobs[name], rng))
        settings.tell(outcome)
    outcome.seconds = time.monotonic() - began
    outcome.notes.append(f"a SIGKILL left at most {left} hidden files, the other signals none")
    return outcome


def _disturb(settings: Settings, outcome: Outcome, number: int, name: str, job: Job, rng: np.random.Generator) -> int:
    """Run a job, send it a signal, look, run it again, look; return how many hidden files were left."""
    folder = settings.folder / "kills"
    if not job.wanted:
        ran = _begun(folder, job, job.words)
        if not ran.wait(SECONDS) or ran.code != 0:
            outcome.found(number, "code", f"{name}, undisturbed", f"exit code {ran.code}: {ran.said.decode()[-1500:]}")
            return 0
        job.seconds, job.wanted = time.monotonic() - ran.began, job.seen(folder)
    number_sent = SIGNALS[int(rng.integers(len(SIGNALS)))]
    ran = _begun(folder, job, job.words)
    moment = rng.random() * 1.05 * job.seconds
    late = ran.ends_within(ran.began + moment - time.monotonic())
    ran.send(number_sent)
    came = ran.wait(SECONDS)
    outcome.cases += 1
    how = f"{name}: {number_sent.name}" + (", after the end" if late else "")
    outcome.counts[how] += 1
    if late:
        job.seconds *= 0.95
    elif number_sent == signal.SIGKILL:
        job.seconds *= 1.01  # other work on the machine may have slowed it down
    hidden = _hidden(folder)
    wrong = _wrong_first(job, ran, folder, number_sent, came, [path.name for path in hidden])
    for path in hidden:  # as if the next run came much later
        os.utime(path, (_LONG_AGO, _LONG_AGO))
    if not wrong:
        ran = Forked(job.package, job.again(folder), folder, folder.with_name("log"))
        if not ran.wait(SECONDS) or ran.code != 0:
            wrong = f"the next run ends with {ran.code}: {ran.said.decode(errors='replace')[-1500:]}"
        elif (
            seen := {
                name: what for name, what in job.seen(folder).items() if name in job.wanted or not _is_partly(job, name)
            }
        ) != job.wanted:
            wrong = f"the next run made something else: {_difference(seen, job.wanted)}"
        elif left := _hidden(folder):
            wrong = f"the next run leaves {left}"
    if wrong:
        outcome.found(number, "lost", f"{how} after {moment:.2f} of {job.seconds:.2f} s", wrong)
    return len(hidden)


def _hidden(folder: Path) -> list[Path]:
    """Return the temporary files that are left."""
    return [path for path in folder.rglob(".*") if _HIDDEN.fullmatch(path.name)]


def _begun(folder: Path, job: Job, words: tuple[object, ...]) -> Forked:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)
    return Forked(job.package, words, folder, folder.with_name("log"))


def _wrong_first(job: Job, ran: Forked, folder: Path, sent: signal.Signals, came: bool, hidden: list[str]) -> str:
    """Return what is wrong after the signal."""
    if not came:
        return f"it did not end after {sent.name}: {ran.said.decode(errors='replace')[-1500:]}"
    if ran.code not in {0, -sent, 128 + sent}:
        return f"exit code {ran.code} after {sent.name}: {ran.said.decode(errors='replace')[-1500:]}"
    if told := what_is_wrong_with(ran.said):
        return told
    if len(hidden) > (_LEFT_MAX if sent == signal.SIGKILL else 0):
        return f"leaves {hidden} after {sent.name}, exit code {ran.code}: {ran.said.decode(errors='replace')[-500:]}"
    seen = job.seen(folder)
    other = {name for name, what in seen.items() if job.wanted.get(name) != what}
    partly = {name for name in other if _is_partly(job, name)}
    if other - partly:
        return f"outputs that are not whole after {sent.name}: {_difference(seen, job.wanted)}"
    return ""


def _is_partly(job: Job, name: str) -> bool:
    return bool(job.partly) and re.fullmatch(job.partly, name) is not None


def _difference(seen: Snapshot, wanted: Snapshot) -> str:
    names = sorted(name for name in {*seen, *wanted} if seen.get(name) != wanted.get(name))
    return ", ".join(f"{name} ({'' if name in seen else 'missing'}{str(seen.get(name))[:80]})" for name in names[:5])


def _files(folder: Path) -> Snapshot:
    """Return the bytes of all outputs; hidden ones are looked at elsewhere."""
    return {
        str(path.relative_to(folder / "out")): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file() and not _HIDDEN.fullmatch(path.name)
    }


def _frames(folder: Path) -> Snapshot:
    """Return the frames of all videos in the output."""
    return {path.name: Frames(path) for path in (folder / "out").glob("[!.]*.m*")}


def _curve(folder: Path) -> Snapshot:
    """Return the rows of a training's table without times; its model must load, and its table be whole."""
    from cae_train import load_model

    table, model = folder / "out" / "metrics.csv", folder / "out" / "model.pt"
    found: dict[str, object] = {}
    if table.exists():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                found[f"epoch {row['epoch']}"] = [value for name, value in row.items() if name != "seconds"]
    if model.exists():
        load_model(model)
    return found


def _camera(folder: Path) -> Snapshot:
    """Return the pictures of the newest fit to a camera, and its weights, to the last bit."""
    from cae_train import load_model

    out = next((place for place in (folder / "out-2", folder / "out") if place.exists()), None)
    if out is None:  # the signal came before the first file
        return {}
    found: dict[str, object] = {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png") if path.name != "curves.png"
    }
    for path in out.glob("model*.pt"):
        weights = load_model(path).network.state_dict()
        found[path.name] = {name: value.numpy().tobytes() for name, value in weights.items()}
    return found


def _scenes(folder: Path) -> None:
    """Write two scenes of a camera whose noise is coarse, and a small network."""
    from tests.campaign.corpora.models import tensor_files

    for seed in range(2):
        rng = np.random.default_rng(seed)
        (folder / "in" / f"scene{seed}").mkdir(parents=True)
        clean = cv2.resize(rng.uniform(40, 215, (4, 5, 3)), (160, 128), interpolation=cv2.INTER_CUBIC)
        for at in range(4):
            noise = cv2.blur(rng.normal(0, 40, (128, 160, 3)), (3, 1))
            frame = np.rint(clean + noise).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "in" / f"scene{seed}" / f"{at}.png"), frame)
    (folder / "start.pt").write_bytes(tensor_files()[0])


def _pictures(folder: Path) -> None:
    (folder / "in").mkdir()
    for name in _FOLDER:
        (folder / "in" / name).write_bytes(picture(name))


def _clip(folder: Path) -> None:
    (folder / "in").mkdir()
    kept = folder.with_name("clip.mkv")
    if not kept.exists():
        make_clip(kept, frames=12, sound="libopus")
    shutil.copyfile(kept, folder / "in" / "clip.mkv")


def _patches(folder: Path) -> None:
    (folder / "in").mkdir()
    for at in range(2):
        pixels = np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / "in" / f"{at}.png"), cv2.resize(pixels, (96, 96)))


def _model(folder: Path) -> None:
    from tests.campaign.corpora.models import tensor_files

    (folder / "in").mkdir()
    (folder / "in" / "model.pt").write_bytes(tensor_files()[0])
    (folder / "out").mkdir()


def _jobs() -> dict[str, Job]:
    """Return what is disturbed; modules are imported now, since a fork then starts at once."""
    import importlib

    modules = (
        "cae_runtime.cli.clean", "cae_runtime.jobs.restore.restore_files", "cae_runtime.jobs.restore.report",
        "cae_runtime.video.clean_video", "lightning.pytorch", "cae_train.cli.main", "cae_train.training.loop",
        "cae_train.cli.camera", "cae_export.exporter",
    )  # fmt: skip
    for module in modules:
        importlib.import_module(module)
    model = ("-m", FIXTURES / "blur.onnx", "--threads", 1)
    train = ("--data", "in", "--arch", "skip", "--epochs", 3, "--epoch-crops", 64, "--batch", 32, "--workers", 0,
             "--accelerator", "cpu", "--out", "out")  # fmt: skip
    burst = ("--burst", "in", "--epochs", 1, "--minutes", 0.001, "--batch", 4, "--start", "start.pt", "--workers", 0,
             "--accelerator", "cpu", "--out", "out")  # fmt: skip
    folder, video = ("in", "-o", "out", *model), ("in", "-o", "out", "--overwrite", *model)
    export = ("in/model.pt", "-o", "out/model.onnx", "--overwrite")

    def resumed(where: Path) -> tuple[object, ...]:
        if (where / "out" / "last.ckpt").exists():
            return ("--resume", "out", "--workers", 0, "--accelerator", "cpu")
        shutil.rmtree(where / "out", ignore_errors=True)
        return train

    return {
        "folder": Job("cae_runtime", folder, lambda _: folder, _pictures, _files, 0.75),
        "video": Job("cae_runtime", video, lambda _: video, _clip, _frames, 0.17, partly=r".*\.partial\.mkv"),
        "training": Job("cae_train", train, resumed, _patches, _curve, 0.03),
        "burst": Job("cae_train", burst, lambda _: burst, _scenes, _camera, 0.03, partly=r"model.*\.pt|samples/.*"),
        "export": Job("cae_export", export, lambda _: export, _model, _files, 0.02),
    }
