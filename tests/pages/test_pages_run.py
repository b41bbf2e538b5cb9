"""The commands of the users' pages run one after the other on small pictures, as a reader would paste them."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from tests.pages.documented import OURS, ROOT, Shown, commands
from typer.testing import CliRunner

from cae_train.data.registry import DATASETS

pytestmark = pytest.mark.slow

MODULES = {"cae-run": "cae_runtime.cli.main", "cae-train": "cae_train.cli.main", "cae-export": "cae_export.cli"}
# What would need a device, a server, an engine, large weights or minutes, or never ends: `test_commands` parses these.
NOT_RUN = (
    "--webcam",
    "--view",
    "--camera",
    "--list-cameras",
    "--burst",
    "--noise-from",
    "--doctor",
    "--benchmark",
    "--watch",
    "--page",
    "--to",
    "--engine",
    "vgg16",
)
PARTS = ("README.md", "train", "export", "runtime")  # where the pages are; commands use what earlier ones made
ANOMALY = 4  # exit code
BRIEFLY = ("--epochs", "1", "--epoch-crops", "160", "--batch", "32")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def runs() -> list[Shown]:
    """The pages' commands in a reader's order; of the trainings those whose run folder a later command reads."""
    every = [
        shown for part in PARTS for shown in commands()
        if (shown.page.partition("/")[0] == part and shown.block and shown.words[0] in OURS
            and not {*shown.words} & {*NOT_RUN, "-"} and not any("://" in word for word in shown.words))
    ]  # fmt: skip
    every = list({shown.words: shown for shown in reversed(every)}.values())[::-1]  # each command once
    made: set[str] = set()
    chosen = []
    for number, shown in enumerate(every):
        folder = run_folder(shown)
        if folder:
            read_later = any(word.startswith(f"{folder}/") for later in every[number:] for word in later.words)
            if folder in made or not read_later:
                continue
            made.add(folder)
        chosen.append(shown)
    return chosen


def run_folder(shown: Shown) -> str:
    """The folder that a training writes; empty for other commands."""
    words = shown.words
    if "--out" in words:
        return words[words.index("--out") + 1]
    if words[0] != "cae-train" or {*words} & {"--resume", "--config", "--preview-degradation"}:
        return ""
    return f"runs/train/{words[words.index('--arch') + 1] if '--arch' in words else 'skip'}"


def patches(count: int, channels: int) -> np.ndarray:
    """N x 32 x 32 x C: pieces of a photograph."""
    image = data.astronaut()[..., :channels]
    rng = np.random.default_rng(channels)
    places = rng.integers(0, 480, (count, 2))
    return np.stack([image[y : y + 32, x : x + 32] for y, x in places])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the pages' commands read, data sets of a few patches among them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cae_train.data.pairs.HELD_OUT_PATCHES", 64)
    for name in ("CALIBRATION", "PROOF", "USUAL"):
        monkeypatch.setattr(f"cae_export.evaluation_data.{name}", 128)
    for name, data_set in DATASETS.items():
        few = (patches(96, data_set.channels), patches(32, data_set.channels))
        monkeypatch.setitem(DATASETS, name, replace(data_set, load=lambda _, few=few: few))
    small = {name: getattr(data, name)()[100:196, 200:296, ::-1] for name in PHOTOGRAPHS}
    for folder in ("photos", "more", "good", "good2", "parts", "defects", "cbsd68/noisy25", "cbsd68/clean"):
        Path(folder).mkdir(parents=True)
        for name, image in small.items():
            cv2.imwrite(f"{folder}/{name}.png", image)
    for number in range(20):  # as many good pictures as the page asks for
        cv2.imwrite(f"good/{number}.png", data.brick()[:64, 20 * number :][:, :64])
    Path("more/astronaut.png").rename("more/other.png")
    for path in Path("more").glob("[!o]*"):
        path.unlink()
    cv2.imwrite("part.png", small["coffee"])
    for path in ("a.png", "b.png", "clothes/c.png"):
        Path(path).parent.mkdir(exist_ok=True)
        cv2.imwrite(path, small["coffee"][:28, :28, 0])
    cv2.imwrite("photo.jpg", small["coffee"])
    cv2.imwrite("photo.png", small["coffee"])
    mask = np.zeros((96, 96), np.uint8)
    mask[40:50, 20:70] = 255
    cv2.imwrite("mask.png", mask)
    cv2.imwrite("roi.png", 255 - mask)
    marked = small["coffee"].copy()
    marked[mask > 0] = (255, 0, 255)
    cv2.imwrite("marked.png", marked)
    for name in ("clip.mp4", "screen.mkv"):
        clip(Path(name))
    shutil.copytree(ROOT / "assets" / "samples", "assets/samples")
    shutil.copytree(ROOT / "assets" / "recipes", "assets/recipes")
    Path("train/cae_train").mkdir(parents=True)
    shutil.copy(ROOT / "train" / "cae_train" / "denoise.pt", "train/cae_train")
    return tmp_path


def clip(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for level in range(0, 60, 20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_the_commands_of_the_pages_run(here: Path) -> None:
    shown = runs()
    assert len(shown) > 20
    failures: list[str] = []
    for each in shown:
        program, *arguments = each.words
        app = importlib.import_module(MODULES[program]).app
        if program == "cae-run":
            arguments = [word.replace("more/*.png", "more/other.png") for word in arguments]  # as a shell does
        if program == "cae-train" and "--resume" not in arguments:
            arguments += BRIEFLY
        if any(word.startswith("assets/recipes/") for word in arguments):  # these read photographs of the reader's own
            arguments += ["--data", "photos/"]
        done = CliRunner().invoke(app, arguments)
        if done.exit_code and not (done.exit_code == ANOMALY and "--fail-on-anomaly" in arguments):
            failures.append(f"{each}: exit code {done.exit_code}\n{done.output[-800:]}\n{done.exception!r}")
    assert not failures, "\n\n".join(failures)
