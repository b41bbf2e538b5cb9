"""Folder runs: their speed beside frames in memory, their memory over many files, and one very large image.

python -m tests.benchmarks.running.folder speed  [--model denoise-int8] [--files 200]
python -m tests.benchmarks.running.folder memory [--model denoise-fast-int8] [--files 2000]
python -m tests.benchmarks.running.folder large  [--model denoise-fast-int8] [--pixels 100]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from cae_runtime import Restorer
from cae_runtime.jobs.planning import Job
from cae_runtime.jobs.restore.images import clean_bytes, restore_images

WIDTH, HEIGHT = 1152, 868  # 1 Mpx
LARGEST_SIDE = 10_000
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)
Model = Annotated[str, typer.Option()]
Files = Annotated[int, typer.Option()]
Threads = Annotated[int, typer.Option()]


def picture(width: int, height: int) -> np.ndarray:
    """Smooth colors with noise, (H, W, 3) uint8."""
    random = np.random.default_rng(0)
    smooth = cv2.resize(random.integers(0, 256, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for top in range(0, height, 500):  # in parts: a normal array of the whole would need 8 bytes a value
        part = smooth[top : top + 500]
        part[...] = np.clip(part + random.normal(0, 15, part.shape), 0, 255)
    return smooth


def jpeg(image: np.ndarray) -> bytes:
    """The picture as a JPEG file."""
    done, data = cv2.imencode(".jpg", image)
    assert done
    return data.tobytes()


def resident(field: str = "VmRSS") -> float:
    """Resident memory of this process in MiB; `VmHWM` is its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@app.command()
def speed(model: Model = "denoise-int8", files: Files = 200, threads: Threads = 2) -> None:
    """Mpx/s of a folder of 1 Mpx JPEG files, and of as many frames in memory."""
    restorer = Restorer(model, provider="cpu", threads=threads)
    frame = picture(WIDTH, HEIGHT)
    data, pixels = jpeg(frame), WIDTH * HEIGHT / 1e6 * files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(files):
            (folder / f"{index:04}.jpg").write_bytes(data)
        jobs = [Job(path, folder / "out" / path.name) for path in sorted(folder.glob("*.jpg"))]
        taken = {"memory": 0.0, "folder": 0.0}
        for first in range(0, files, 20):  # turn and turn about
            started = time.perf_counter()
            for _ in jobs[first : first + 20]:
                restorer(frame)
            taken["memory"] += time.perf_counter() - started
            started = time.perf_counter()
            assert all(result.status == "done" for result in restore_images(restorer, jobs[first : first + 20]))
            taken["folder"] += time.perf_counter() - started
    memory, folder_speed = pixels / taken["memory"], pixels / taken["folder"]
    print(f"{model}: memory {memory:.2f} Mpx/s, folder {folder_speed:.2f} Mpx/s, {folder_speed / memory:.2f} x")


@app.command()
def memory(model: Model = "denoise-fast-int8", files: Files = 2000, threads: Threads = 2) -> None:
    """Resident memory after 100 files and after all."""
    restorer = Restorer(model, provider="cpu", threads=threads)
    data = [jpeg(picture(width, height)) for width, height in ((320, 240), (400, 300), (256, 512))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(files):
            (folder / f"{index:04}.jpg").write_bytes(data[index % len(data)])
        jobs = [Job(path, folder / "out" / path.name) for path in sorted(folder.glob("*.jpg"))]
        early = 0.0
        for index, result in enumerate(restore_images(restorer, jobs), 1):
            assert result.status == "done"
            early = resident() if index == 100 else early
        late = resident()
    print(f"{model}: {early:.0f} MiB after 100 files, {late:.0f} MiB after {files}, {late / early - 1:+.1%}")


@app.command()
def large(model: Model = "denoise-fast-int8", pixels: Annotated[int, typer.Option()] = 100) -> None:
    """Peak resident memory of `cae-run` on two JPEGs of so many megapixels, and that bands change no bit.

    The first one's result is compared with that of a single thread which runs whole rows of patches at once.
    """
    height = round(pixels * 1e6 / LARGEST_SIDE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in (1, 2):
            (folder / f"large{number}.jpg").write_bytes(jpeg(picture(LARGEST_SIDE, height)))
        child = (
            "import resource, subprocess, sys\n"
            "done = subprocess.run(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, done.returncode)"
        )
        command = [Path(sys.executable).with_name("cae-run"), folder, "-o", folder / "out", "-m", model]
        told = subprocess.run([sys.executable, "-c", child, *map(str, command)], capture_output=True, text=True)
        print(told.stderr.strip())
        peak, code = told.stdout.split()
        whole = Restorer(model, provider="cpu", threads=1, batch=LARGEST_SIDE)
        data = clean_bytes(whole, (folder / "large1.jpg").read_bytes()).data
        same = data == (folder / "out" / "large1.jpg").read_bytes()
    print(f"{model}: two {pixels} Mpx JPEGs, peak resident memory {peak} MiB, exit code {code}, bands equal: {same}")


if __name__ == "__main__":
    app()
