"""Our models beside what one would use instead: quality, speed and memory on the same pictures, in one run.

    python -m tests.benchmarks.denoising.peers compare CLEAN NOISY [--network NAME=FILE.onnx ...]
                                             [--images 68] [--threads 2]
                                             [--title TEXT] [--table FILE.md] [--plot FILE.png]
    python -m tests.benchmarks.denoising.peers plot FILE.md FILE.png

CLEAN and NOISY are folders with pictures of the same names, with white noise of sigma 25. Every method cleans every
picture in turn, on that many CPUs; its speed is the median over the pictures, decoding not counted. Networks take whole
pictures as `x`, N x 3 x H x W in 0..1. Memory is the peak of a process that cleans one picture, less that of one which
only loads the libraries. BM3D and wavelets are measured where their packages are installed (`pip install bm3d
PyWavelets`), BM3D on the first ten pictures because it is slow: beside it stands what `denoise` reaches on those. The
parameters of the classical methods were chosen on six pictures of BSDS500 outside CBSD68.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from tests.benchmarks.denoising.denoising import peer
from tests.benchmarks.denoising.quality import Image, figures, pairs
from tests.benchmarks.running.folder import resident

OURS = ("denoise", "denoise-int8", "denoise-fast", "denoise-fast-int8", "denoise-best", "denoise-best-int8")
SIGMA = 25
PLACES = {  # of labels that would lie on others: points to the right and up, and which end is there
    "denoise": (4, 9, "left"), "denoise-int8": (9, 2, "left"), "denoise-fast": (-8, 4, "right"),
    "denoise-fast-int8": (6, -16, "right"), "denoise-best": (0, 10, "center"), "denoise-best-int8": (-9, -12, "right"),
    "total variation (scikit-image)": (-6, 8, "right"), "Gaussian (OpenCV)": (-6, 6, "right"), "BM3D": (9, -4, "left"),
    "CDnCNN": (0, -16, "center"), "non-local means (OpenCV)": (-8, -4, "right"),
}  # fmt: skip
PAUSE = 0.05  # seconds, so that idle threads of one method do not take the next one's cores
NOTHING = "nothing"
SLOW = {"BM3D": 10}  # pictures that a slow method is measured on
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def model(name: str, threads: int) -> Callable[[Image], Image]:
    """One of our models as `cae-run` uses it."""
    from cae_runtime import Restorer

    return Restorer(name, provider="cpu", threads=threads)


def non_local_means(image: Image) -> Image:
    """OpenCV, for color pictures (Buades et al., CVPR 2005)."""
    return cv2.fastNlMeansDenoisingColored(image, None, 14, 16, 7, 21).astype(np.uint8, copy=False)


def bilateral(image: Image) -> Image:
    """OpenCV (Tomasi and Manduchi, ICCV 1998)."""
    return cv2.bilateralFilter(image, 9, 100, 2.5).astype(np.uint8, copy=False)


def gaussian(image: Image) -> Image:
    """OpenCV."""
    return cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.uint8, copy=False)


def wavelet(image: Image) -> Image:
    """scikit-image: BayesShrink in YCbCr (Chang et al., TIP 2000)."""
    from skimage.restoration import denoise_wavelet

    cleaned = denoise_wavelet(
        image.astype(np.float32) / 255, sigma=SIGMA / 255, channel_axis=2, convert2ycbcr=True, rescale_sigma=True
    )
    return rounded(cleaned)


def total_variation(image: Image) -> Image:
    """scikit-image (Chambolle, JMIV 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    return rounded(denoise_tv_chambolle(image.astype(np.float32) / 255, weight=0.08, channel_axis=2))


def bm3d(image: Image) -> Image:
    """The package of its authors (Dabov et al., ICIP 2007), for RGB."""
    from bm3d import bm3d_rgb

    return rounded(bm3d_rgb(image[..., ::-1] / 255, SIGMA / 255)[..., ::-1])


def rounded(values: np.ndarray) -> Image:
    """0..1 to 8 bits."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def methods(networks: dict[str, Path], threads: int) -> dict[str, Callable[[], Callable[[Image], Image]]]:
    """Every method by its name: a function that sets it up."""
    found: dict[str, Callable[[], Callable[[Image], Image]]] = {name: partial(model, name, threads) for name in OURS}
    found |= {name: partial(peer, path, threads) for name, path in networks.items()}
    if importlib.util.find_spec("bm3d"):
        found["BM3D"] = lambda: bm3d
    found |= {
        "non-local means (OpenCV)": lambda: non_local_means,
        "bilateral (OpenCV)": lambda: bilateral,
        "Gaussian (OpenCV)": lambda: gaussian,
        "total variation (scikit-image)": lambda: total_variation,
    }
    if importlib.util.find_spec("pywt"):
        found["wavelet (scikit-image)"] = lambda: wavelet
    return found


@dataclass
class Result:
    """What a method has done: pairs of (clean, cleaned), and its speed on each picture in Mpx/s."""

    both: list[tuple[Image, Image]] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    @property
    def speed(self) -> float:
        return statistics.median(self.speeds)


Networks = Annotated[list[str] | None, typer.Option(help="A published network, NAME=FILE.onnx; repeats.")]
Threads = Annotated[int, typer.Option()]


@app.command()
def compare(
    clean: Path,
    noisy: Path,
    network: Networks = None,
    images: Annotated[int | None, typer.Option(help="Only the first so many.")] = None,
    threads: Threads = 2,
    title: Annotated[str, typer.Option(help="What the pictures are.")] = "CBSD68, sigma 25",
    table: Annotated[Path | None, typer.Option()] = None,
    plot: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Measure all methods."""
    use_cpus(threads)
    setups = methods(parsed(network), threads)
    pictures = pairs(clean, noisy)[:images]
    cleaners = {name: setup() for name, setup in setups.items()}
    results = {name: Result() for name in cleaners}
    for number, (original, degraded) in enumerate(pictures):
        for name, cleaner in cleaners.items():
            if number >= SLOW.get(name, len(pictures)):
                continue
            if number == 0:
                cleaner(degraded)
            time.sleep(PAUSE)
            started = time.perf_counter()
            cleaned = cleaner(degraded)
            taken = time.perf_counter() - started
            results[name].both.append((original, cleaned))
            results[name].speeds.append(original.shape[0] * original.shape[1] / 1e6 / taken)
        print(f"\r{number + 1} of {len(pictures)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    example = sorted(path for path in noisy.iterdir() if path.is_file())[0]
    idle = memory_of(NOTHING, example, network or [], threads)
    quality = {name: figures(result.both) for name, result in results.items()}
    psnr_in, ssim_in = figures(pictures)
    lines = ["| method | PSNR | SSIM | Mpx/s | memory |", "| --- | ---: | ---: | ---: | ---: |"]
    lines.append(f"| noisy input | {psnr_in:.2f} | {ssim_in:.3f} | | |")
    for name, result in results.items():
        psnr, ssim = quality[name]
        mark, count = "", len(result.both)
        if count < len(pictures):
            mark = f" (first {count}; `denoise` there {figures(results['denoise'].both[:count])[0]:.2f})"
        memory = memory_of(name, example, network or [], threads) - idle
        lines.append(f"| {name}{mark} | {psnr:.2f} | {ssim:.3f} | {result.speed:.3g} | {memory:.0f} MiB |")
    text = "\n".join(lines) + "\n"
    print(text)
    if table:
        table.write_text(f"# Compared with other methods\n\n{table_head(title, threads, len(pictures))}\n\n{text}")
    if plot:
        draw(plot, *_points(text), threads, title)


@app.command("plot")
def plot_table(
    table: Path,
    path: Annotated[Path, typer.Argument(metavar="FILE.png")],
    threads: Threads = 2,
    title: Annotated[str, typer.Option(help="What the pictures are.")] = "CBSD68, sigma 25",
) -> None:
    """Draw the table that `compare --table` wrote, without measuring anew."""
    draw(path, *_points(table.read_text()), threads, title)


def _points(table: str) -> tuple[dict[str, tuple[float, float]], float]:
    """Speed and PSNR of each method of a table, and the PSNR of the input."""
    points: dict[str, tuple[float, float]] = {}
    psnr_in = 0.0
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| noisy input"):
            psnr_in = float(cells[1])
        elif len(cells) == 5 and cells[1].replace(".", "").isdigit():
            points[cells[0].partition(" (first")[0]] = (float(cells[3]), float(cells[1]))
    return points, psnr_in


def table_head(title: str, threads: int, count: int) -> str:
    """What the table shows, and how it is made."""
    return (
        "`python -m tests.benchmarks.denoising.peers compare CLEAN NOISY "
        "--network FFDNet=FILE --network CDnCNN=FILE`:\n"
        f"{title}, {count} pictures, clipped to 8 bits; {threads} CPUs ({cpu_name()}), all methods in turn on each\n"
        "picture."
    )


def cpu_name() -> str:
    """The CPU's name, and whether it has instructions for int8 (VNNI), which decide what int8 models gain."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {'with' if 'vnni' in fields.get('flags', '') else 'without'} VNNI"


@app.command()
def memory(name: str, picture: Path, network: Networks = None, threads: Threads = 2) -> None:
    """Clean one picture, and print the process's peak resident memory in MiB."""
    use_cpus(threads)
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    assert image is not None
    if name != NOTHING:
        methods(parsed(network), threads)[name]()(image.astype(np.uint8, copy=False))
    print(resident("VmHWM"))


def memory_of(name: str, picture: Path, networks: list[str], threads: int) -> float:
    """Peak resident memory in MiB of a new process that cleans one picture."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.denoising.peers",
        "memory",
        name,
        str(picture),
        "--threads",
        str(threads),
    ]
    command += [word for each in networks for word in ("--network", each)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def use_cpus(count: int) -> None:
    """Leave so many CPUs to this process and to those that it starts, whatever a library would take."""
    cv2.setNumThreads(count)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def parsed(networks: list[str] | None) -> dict[str, Path]:
    """NAME=FILE by name."""
    return {name: Path(file) for name, _, file in (each.partition("=") for each in networks or [])}


def draw(path: Path, points: dict[str, tuple[float, float]], psnr_in: float, threads: int, title: str) -> None:
    """Quality against speed, the latter logarithmic: all methods, and beside them our models and what is near."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained")
    whole, near = figure.subplots(1, 2, sharex=False)
    speeds, psnrs = zip(*(points[name] for name in OURS if name in points), strict=True)
    for names, style, kind in ((OURS[::2], "-", "fp32"), (OURS[1::2], "--", "int8")):
        front = sorted(points[name] for name in names if name in points)
        near.plot(*zip(*front, strict=True), style, color="tab:red", lw=1, alpha=0.5, label=f"our models, {kind}")
    for axis in (whole, near):
        for name, (speed, psnr) in points.items():
            ours = name in OURS
            if axis is near and not (min(psnrs) - 0.2 < psnr and min(speeds) / 8 < speed):
                continue
            axis.plot(speed, psnr, "o" if ours else "s", color="tab:red" if ours else "tab:gray", ms=8 if ours else 6)
            if axis is near or not ours:
                *offset, side = PLACES.get(name, (7, 5, "left"))
                axis.annotate(name, (speed, psnr), textcoords="offset points", xytext=offset, ha=side, fontsize=9)
        axis.set(xscale="log", xlabel=f"Mpx/s, {threads} threads", ylabel=f"PSNR (dB), {title}")
        axis.grid(alpha=0.3, which="both")
        axis.margins(0.15)
    whole.axhline(psnr_in, color="black", ls=":", lw=1, label="noisy input")
    whole.plot([], [], "o", color="tab:red", label="our models")
    whole.legend(loc="lower left")
    near.legend(loc="lower left")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    app()
