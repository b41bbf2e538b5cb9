"""`model.pt` in, a proved `model.onnx` out: convert, write the metadata, compare, quantise, and only then name it."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import onnx
from torch import nn

from cae_export.channels_last import ChannelsLast
from cae_export.convert import check_opset, to_onnx
from cae_export.defaults import MAX_DROP, OPSET, OVERLAP, PATCHES, STEADY, TOLERANCE, TOLERANCE_FP16
from cae_export.errors import RefusedError, UsageError
from cae_export.evaluation_data import Patches, find
from cae_export.onnx_files import as_paths, check_model, check_output, save, usage_error
from cae_export.parity import BatchParity, mean_psnr, prove, refuse_unless_equal, refuse_unless_steady, run
from cae_export.quantize import to_fp16, to_int8
from cae_runtime import CaeRuntimeError, ModelSpec, Session
from cae_runtime.inference.model_spec import COLOR_OF_CHANNELS, NCHW, NHWC
from cae_shared.temporary import discard, temporary_beside
from cae_train.checkpoint import load_model
from cae_train.config import PATCH
from cae_train.degradations.registry import described
from cae_train.errors import CaeTrainError
from cae_train.models.skip import Skip

Precision = Literal["fp32", "int8", "fp16"]

SPEED_BATCH, SPEED_PATCHES, SPEED_ROUNDS = 16, 512, 7


@dataclass(frozen=True)
class ExportReport:
    """What was made and how it was proved.

    Attributes:
        path: the file.
        spec: its metadata.
        bytes: its size.
        fp32_bytes: the size in fp32.
        parity: torch beside the file (fp16 or fp32) at each batch size; for int8 that of the fp32 file it is made of.
        patches: what the figures were taken on.
        count: how many patches that are.
        psnr_in: PSNR of the degraded patches, dB.
        psnr_fp32: PSNR of the fp32 model's output, dB.
        psnr_out: PSNR of this file's output, dB.
        speed: int8: patches a second as a multiple of fp32's on this machine; else None.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    fp32_bytes: int
    parity: tuple[BatchParity, ...]
    patches: str
    count: int
    psnr_in: float
    psnr_fp32: float
    psnr_out: float
    speed: float | None


def default_output(model: Path, precision: Precision) -> Path:
    """`model.onnx` beside `model.pt`, `model-int8.onnx` and `model-fp16.onnx` for the other precisions."""
    return model.with_name(f"{model.stem}{'' if precision == 'fp32' else '-' + precision}.onnx")


def export(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    precision: Precision = "fp32",
    data: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    tolerance: float | None = None,
    max_drop: float = MAX_DROP,
    opset: int = OPSET,
    overlap: int = OVERLAP,
    patch: int = PATCH,
    license: str = "",
    tell: Callable[[str], None] = lambda _line: None,
) -> ExportReport:
    """Export a trained model and prove that the file equals it.

    Args:
        model: a `model.pt` of `cae-train`.
        output: the file to write; by default `default_output(model, precision)`. Replaced if it is there.
        precision: "fp32", "int8" or "fp16".
        data: data set or folder for proof, figures and calibration; by default the model's own, else packaged patches.
        data_dir: where named data sets lie; by default where they lay in training.
        tolerance: largest absolute difference allowed between torch and the file (fp32 1e-4, fp16 1e-2).
        max_drop: dB that int8 may lose against fp32.
        opset: ONNX operator set.
        overlap: overlap of neighbouring patches that the file recommends to the runtime, in pixels.
        patch: side of the patches that the file takes, one of `cae_export.defaults.PATCHES`.
        license: SPDX identifier of the weights' licence, for the metadata; empty where it is not known.
        tell: called with a line before each long step.

    Raises:
        UsageError: a model, data or setting that cannot be used (where there is no such model, a FileNotFoundError too,
            where something is no path, a TypeError), or an output that cannot be written.
        RefusedError: the file is not equal, or loses too much; nothing is left under its name.
    """
    model, output, data, data_dir = as_paths(model, output, data, data_dir)
    check_model(model)
    output = output or default_output(model, precision)
    _check(output, tolerance, max_drop, overlap, patch)
    check_opset(opset)
    try:
        loaded = load_model(model)
    except CaeTrainError as e:
        raise usage_error(e) from e
    if loaded.network.side not in (None, patch) or patch % loaded.network.stride:
        only = f"{loaded.network.side}" if loaded.network.side else f"multiples of {loaded.network.stride}"
        raise UsageError(f"--patch is {patch}: {loaded.arch} takes {only} only")
    tell(f"{loaded.arch}: finding patches")
    patches = find(loaded, data, patch, data_dir)
    tell(f"converting; proving on {patches.source}{patches.place}")
    graph = to_onnx(loaded.network, patch, opset)
    channels = loaded.network.channels
    fp32, partial = (temporary_beside(output) for _ in range(2))
    spec = ModelSpec(
        architecture=loaded.arch,
        patch=patch,
        channels=channels,
        overlap=overlap,
        color=COLOR_OF_CHANNELS[channels],
        degradation=described(loaded.config),
        psnr_in=round(mean_psnr(patches.degraded, patches.clean), 4),
        evaluated_on=patches.source,
        version=loaded.version,
        license=license,
    )
    try:
        parity = _proved(loaded.network, graph, spec, fp32, patches, tolerance or TOLERANCE)
        spec = _weighed(graph, spec, fp32, patches)
        psnr_fp32, speed, made = cast(float, spec.psnr_out), None, fp32
        if precision == "fp16":
            half, spec, made = to_fp16(graph), replace(spec, precision="fp16", psnr_out=None), partial
            parity = _proved(loaded.network, half, spec, partial, patches, tolerance or TOLERANCE_FP16)
            spec = _weighed(half, spec, partial, patches)
        elif precision == "int8":
            tell(f"quantising on {len(patches.calibration)} patches")
            made = partial
            quantised, layout = _quantised(loaded.network, graph, opset, patches)
            spec = replace(spec, precision="int8", psnr_out=None, layout=layout)
            spec = _weighed(quantised, spec, partial, patches)
            linear = any(isinstance(module, nn.Linear) for module in loaded.network.modules())
            refuse_unless_steady(partial, patches, STEADY if linear else TOLERANCE)
            speed = _speed(partial, fp32, patches)
            _refuse_loss(psnr_fp32, cast(float, spec.psnr_out), max_drop, speed)
        fp32_bytes = fp32.stat().st_size
        made.replace(output)
    except CaeRuntimeError as e:
        raise RefusedError(f"refused: the runtime cannot use the file: {e}") from e
    except OSError as e:
        raise UsageError(f"{output} cannot be written: {e.strerror or e}") from e
    finally:
        discard(fp32)
        discard(partial)
    return ExportReport(
        output, spec, output.stat().st_size, fp32_bytes, tuple(parity), patches.source, len(patches.clean),
        cast(float, spec.psnr_in), psnr_fp32, cast(float, spec.psnr_out), speed,
    )  # fmt: skip


def _check(output: Path, tolerance: float | None, max_drop: float, overlap: int, patch: int) -> None:
    check_output(output)
    if tolerance is not None and not 0 < tolerance <= 1:
        raise UsageError(f"--tolerance is {tolerance}: above 0, at most 1 is needed")
    if not max_drop >= 0:
        raise UsageError(f"--max-drop is {max_drop}: 0 dB or more is needed")
    if patch not in PATCHES:
        raise UsageError(f"--patch is {patch}: choose from {', '.join(map(str, PATCHES))}")
    if not 0 <= overlap < patch:
        raise UsageError(f"--overlap is {overlap}: 0 to {patch - 1} pixels are needed")


def _proved(
    network: nn.Module, graph: onnx.ModelProto, spec: ModelSpec, path: Path, patches: Patches, tolerance: float
) -> list[BatchParity]:
    """Write the graph and hold it against the network."""
    save(graph, spec, path)
    rows = prove(network, path, patches)
    refuse_unless_equal(rows, tolerance)
    return rows


def _quantised(network: nn.Module, graph: onnx.ModelProto, opset: int, patches: Patches) -> tuple[onnx.ModelProto, str]:
    """The int8 graph and its layout: channels last where that is faster, which is where the network can have it."""
    patch = patches.clean.shape[-1]
    if not (isinstance(network, Skip) and ChannelsLast.fits(network, patch)):
        return to_int8(graph, patches.calibration), NCHW
    last = ChannelsLast(network, rounded=True).eval()
    rearranged = to_onnx(last, patch, opset, NHWC)
    return to_int8(rearranged, patches.calibration.permute(0, 2, 3, 1), last.stem_steps), NHWC


def _weighed(graph: onnx.ModelProto, spec: ModelSpec, path: Path, patches: Patches) -> ModelSpec:
    """Write the graph, measure its PSNR, and write it again with that figure in its metadata."""
    save(graph, spec, path)
    figure = mean_psnr(run(Session(path, provider="cpu"), patches.degraded), patches.clean)
    if not math.isfinite(figure):
        raise RefusedError(f"refused: {spec.precision} gives values that are not finite")
    spec = replace(spec, psnr_out=round(figure, 4))
    save(graph, spec, path)
    return spec


def _speed(candidate: Path, reference: Path, patches: Patches) -> float:
    """Patches a second of the one as a multiple of the other's: interleaved rounds, medians, batches of 16."""
    sessions = [Session(path, provider="cpu") for path in (candidate, reference)]
    times: list[list[float]] = [[], []]
    for _ in range(SPEED_ROUNDS + 1):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            run(session, patches.degraded[:SPEED_PATCHES], SPEED_BATCH)
            taken.append(time.perf_counter() - start)
    fast, slow = (statistics.median(taken[1:]) for taken in times)
    return slow / fast


def _refuse_loss(psnr_fp32: float, psnr_int8: float, max_drop: float, speed: float) -> None:
    if not psnr_fp32 - psnr_int8 <= max_drop:
        raise RefusedError(
            f"refused: int8 gives {psnr_int8:.2f} dB where fp32 gives {psnr_fp32:.2f} dB, "
            f"{psnr_fp32 - psnr_int8:.2f} dB less (--max-drop {max_drop:g}); it would run at {speed:.2f} x fp32"
        )
