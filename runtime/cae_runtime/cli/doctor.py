"""`cae-run --doctor`: what is installed, what works, and what does not."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from typing import TYPE_CHECKING, Final

from cae_runtime.errors import CaeRuntimeError
from cae_runtime.inference.cpu_limits import allowed_cpus, cgroup_memory, cgroup_quota, usable_cpus
from cae_runtime.inference.providers import PROVIDERS, Provider
from cae_runtime.live.video_devices import listed_cameras

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FAMILIES: Final = {
    "onnxruntime": re.compile(r"onnxruntime(-(gpu|directml|openvino|migraphx|rocm|qnn|cann|training|silicon|webgpu))*"),
    "OpenCV": re.compile(r"opencv(-contrib)?-python(-headless)?(-rolling)?"),
}
_EXTRAS: Final = (
    "video", "heif", "raw", "tiff", "cmyk", "tsne", "watch", "cloud", "ray", "virtual-camera", "openvino", "webgpu",
)  # fmt: skip
_PATCHES: Final = 32
_FARTHEST: Final = 4.0  # gray levels; a larger difference from the CPU's output counts as a failure


@dataclass(frozen=True)
class ProviderCheck:
    """The check of one execution provider.

    Attributes:
        name: the name that `--provider` takes.
        full: its name in onnxruntime.
        status: `works`, `fails`, or `absent`.
        detail: the error, or the line that installs it.
        off_by: largest difference from the CPU's output, in gray levels of 255; None if it did not run.
        ms: median time of a batch of 32 patches, in milliseconds; None if it did not run.
    """

    name: str
    full: str
    status: str
    detail: str = ""
    off_by: float | None = None
    ms: float | None = None


@dataclass(frozen=True)
class Findings:
    """What was found on this machine.

    Attributes:
        versions: of the toolkit, Python, the system and the libraries, by name.
        cpus: counts for the host, the affinity mask, the cgroup quota (None: no limit), and the CPUs used.
        memory_limit: of the cgroup, in bytes (None: no limit).
        providers: one check per provider.
        devices: the devices that onnxruntime sees, one line each.
        cameras: path and name, by number.
        cpu_ms: median milliseconds per batch in one CPU thread: `denoise` at the `highest` optimization level and at
            the level `below`, and a small network in `fp16` and `fp32`; empty if nothing could run.
        notes: what is slow on this CPU, one line each.
        extras: for each optional extra of `cae-run`, its packages with their versions, or the command that installs
            them.
        problems: what should be fixed, one line each.
    """

    versions: dict[str, str]
    cpus: dict[str, float | None]
    memory_limit: int | None
    providers: list[ProviderCheck]
    devices: list[str]
    cameras: dict[int, str]
    cpu_ms: dict[str, float]
    notes: list[str]
    extras: dict[str, str]
    problems: list[str]


def examine() -> Findings:
    """Check the installation, and run the packaged model on every available provider."""
    versions = {
        "cae-toolkit": version("cae-toolkit"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    problems = duplicates([name for found in distributions() if (name := found.metadata["Name"])])
    broken = []
    for library in ("numpy", "cv2", "onnxruntime"):
        try:
            versions[library] = importlib.import_module(library).__version__
        except Exception as e:  # a library that fails to load may raise anything
            broken.append(f"{library} cannot be imported: {' '.join(str(e).split())}")
    if broken:
        return Findings(
            versions, _cpus(), cgroup_memory(), [], [], listed_cameras(), {}, [], extras(), problems + broken
        )
    from cae_runtime.inference import onnx_backend as engine

    checks = _check_providers()
    automatic = {provider.full for provider in PROVIDERS if provider.automatic}
    problems += [f"{c.full}: {c.detail}" for c in checks if c.status == "fails" and c.full in automatic]
    cpu_ms, notes = _check_cpu()
    return Findings(
        versions,
        _cpus(),
        cgroup_memory(),
        checks,
        engine.devices(),
        listed_cameras(),
        cpu_ms,
        notes,
        extras(),
        problems,
    )


def extras() -> dict[str, str]:
    """Return for each optional extra of `cae-run` its packages with versions, or the command that installs it."""
    found = {}
    for extra in _EXTRAS:
        wanted = [line for line in requires("cae-toolkit") or [] if re.search(rf"extra == ['\"]{extra}['\"]", line)]
        names = [match[0] for line in wanted if (match := re.match(r"[\w.-]+", line))]
        try:
            found[extra] = ", ".join(f"{name} {version(name)}" for name in names)
        except PackageNotFoundError as e:
            found[extra] = f"{e.name} is not installed: pip install 'cae-toolkit[{extra}]'"
    return found


def duplicates(installed: list[str]) -> list[str]:
    """Return a line for each library that several installed wheels overwrite.

    Args:
        installed: names of the installed distributions.
    """
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in installed}
    problems = []
    for library, family in _FAMILIES.items():
        several = sorted(name for name in names if family.fullmatch(name))
        if len(several) > 1:
            problems.append(
                f"{len(several)} wheels install {library} over each other: uninstall all of {', '.join(several)}, "
                "then install the one that is wanted"
            )
    return problems


def as_text(findings: Findings) -> list[str]:
    """Return the findings as lines of text."""
    lines = [f"{name:12} {text}" for name, text in findings.versions.items()]
    cpus = findings.cpus
    quota = "none" if cpus["quota"] is None else f"{cpus['quota']:g}"
    lines += [f"{'CPUs':12} {cpus['host']} in the host, {cpus['affinity']} allowed, quota {quota}: {cpus['used']} used"]
    limit = findings.memory_limit
    lines += [f"{'memory':12} {'no limit' if limit is None else f'{limit / 2**20:.0f} MiB'} for this process"]
    lines += ["", "providers"]
    for check in findings.providers:
        detail = check.detail
        if check.status == "works":
            detail = f"{_PATCHES} patches in {check.ms:.1f} ms, {check.off_by:.2f} gray levels from the CPU at most"
        lines.append(f"  {check.name:10} {check.status:7} {detail}")
    lines += ["", "extras", *(f"  {name:14} {text}" for name, text in findings.extras.items())]
    if findings.cpu_ms:
        ms = findings.cpu_ms
        lines += ["", "one thread of the CPU, a batch"]
        lines += [f"  optimization  {ms['highest']:.1f} ms at the highest level, {ms['below']:.1f} ms at the one below"]
        lines += [f"  precision     {ms['fp16']:.1f} ms in fp16, {ms['fp32']:.1f} ms in fp32"]
        lines += [f"  note: {note}" for note in findings.notes]
    lines += ["", "devices", *(f"  {device}" for device in findings.devices)]
    none = "  none that the system lists"
    lines += ["", "cameras", *([f"  {number}  {name}" for number, name in findings.cameras.items()] or [none])]
    lines += ["", "problems", *([f"  {problem}" for problem in findings.problems] or ["  none"])]
    return lines


def as_json(findings: Findings) -> str:
    """Return the findings as a JSON document."""
    return json.dumps(asdict(findings), indent=2)


def _cpus() -> dict[str, float | None]:
    return {"host": os.cpu_count(), "affinity": len(allowed_cpus()), "quota": cgroup_quota(), "used": usable_cpus()}


def _check_cpu() -> tuple[dict[str, float], list[str]]:
    """Measure what is very slow on some CPUs; return the milliseconds, and a note for each that is slow here."""
    from cae_runtime.inference.cpu_speed import level_note, level_times, precision_times
    from cae_runtime.inference.model_files import DEFAULT_MODEL, find_model

    highest, below = level_times(find_model(DEFAULT_MODEL))
    half, single = precision_times()
    notes = [level_note(highest, below)]
    if half > single:
        notes.append(f"fp16 models take {half / single:.0f} times as long as fp32 ones on this CPU: use fp32 or int8")
    return {"highest": highest, "below": below, "fp16": half, "fp32": single}, [note for note in notes if note]


def _check_providers() -> list[ProviderCheck]:
    import numpy as np

    from cae_runtime.inference.model_files import DEFAULT_MODEL
    from cae_runtime.inference.session import Session

    reference = Session(DEFAULT_MODEL, provider="cpu")
    patches = np.random.default_rng(0).random(reference.spec.shape(_PATCHES), np.float32)
    wanted = reference.run(patches)
    return [_check(provider, patches, wanted) for provider in reversed(PROVIDERS)]


def _check(provider: Provider, patches: NDArray[np.float32], wanted: NDArray[np.float32]) -> ProviderCheck:
    import numpy as np

    from cae_runtime.inference import onnx_backend as engine
    from cae_runtime.inference.model_files import DEFAULT_MODEL
    from cae_runtime.inference.session import Session

    check = ProviderCheck(provider.short, provider.full, "absent", provider.install)
    try:
        installed = provider.full in engine.build_providers() or engine.plugin_is_installed(provider)
        if not installed:
            return check
        opened = Session(DEFAULT_MODEL, provider=provider.short)
        output, times = opened.run(patches), []
        for _ in range(5):
            started = time.perf_counter()
            opened.run(patches)
            times.append(time.perf_counter() - started)
    except CaeRuntimeError as e:
        return replace(check, status="fails", detail=str(e).removeprefix(f"{provider.full}: "))
    off_by = float(np.abs(output - wanted).max()) * 255
    ms = float(np.median(times)) * 1e3
    if not off_by <= _FARTHEST:
        detail = f"its output is {off_by:.1f} gray levels from the CPU's"
        return replace(check, status="fails", detail=detail, off_by=off_by, ms=ms)
    return replace(check, status="works", detail="", off_by=off_by, ms=ms)
