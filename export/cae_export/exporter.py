"""`model.pt` in, a proved `model.onnx` out: convert, compare with torch, quantize, measure."""

import logging
import math
import os
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Unpack, cast

import onnx
from torch import nn

from cae_export.defaults import BATCH_TOLERANCE, MAX_DROP, OVERLAP, PATCHES, TOLERANCE, TOLERANCE_FP16
from cae_export.errors import RefusedError, UsageError
from cae_export.evaluation_data import Patches, find
from cae_export.graphs.channels_last import ChannelsLast
from cae_export.graphs.convert import to_onnx
from cae_export.graphs.onnx_files import OnnxFile, build_file, facts_of
from cae_export.graphs.quantize import to_fp16, to_int8
from cae_export.parity import BatchParity, mean_psnr, prove, refuse_unless_equal, refuse_unless_steady, run
from cae_export.proved_file import VERSION, FileOptions, FileSettings, require, takes, write_proved
from cae_runtime import ModelSpec, Session
from cae_runtime.inference.model_spec import NCHW, NHWC
from cae_train.checkpoint import LoadedModel
from cae_train.config import PATCH
from cae_train.models.skip import Skip

Precision = Literal["fp32", "int8", "fp16"]
Layout = Literal["nchw", "nhwc"]

SPEED_BATCH, SPEED_PATCHES, SPEED_ROUNDS = 16, 512, 7
ENDING = {"fp32": ".onnx", "int8": "-int8.onnx", "fp16": "-fp16.onnx"}

_log = logging.getLogger(__name__)


class ExportOptions(FileOptions, total=False):
    """Options of `export`, which says what they are."""

    precision: Precision
    max_drop: float
    patch: int
    layout: Layout | None
    portable: bool


@dataclass(frozen=True, kw_only=True)
class ExportSettings(FileSettings):
    """Options of `export`, checked."""

    precision: Precision = "fp32"
    max_drop: float = MAX_DROP
    patch: int = PATCH
    layout: Layout | None = None
    portable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.precision in ENDING, "precision", repr(self.precision), f"choose from {', '.join(ENDING)}")
        require(self.max_drop >= 0, "max_drop", self.max_drop, "0 dB or more is needed")
        require(self.patch in PATCHES, "patch", self.patch, f"choose from {', '.join(map(str, PATCHES))}")
        self.check_names()
        self.check_overlap(self.patch)
        require(self.layout in (None, NCHW, NHWC), "layout", repr(self.layout), f"choose {NCHW} or {NHWC}")
        if self.portable and self.precision != "int8":
            raise UsageError("portable=True needs precision='int8': the other files suit other engines as they are")
        require(not self.portable or self.layout != NHWC, "layout", NHWC, f"portable int8 files are {NCHW}")


@dataclass(frozen=True)
class ExportReport:
    """The exported file and its proof.

    Attributes:
        path: the file.
        spec: its metadata.
        bytes: its size.
        fp32_bytes: the size in fp32.
        parity: comparison of PyTorch with the file (fp16 or fp32) at each batch size; for int8, that of its fp32
            original.
        patches: the data that the figures were measured on.
        count: the number of these patches.
        psnr_in: PSNR of the degraded patches, dB.
        psnr_fp32: PSNR of the fp32 model's output, dB.
        psnr_out: PSNR of this file's output, dB.
        speed: for int8, patches per second as a multiple of fp32's on this machine; otherwise None.
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


def export(
    model: str | os.PathLike[str], output: str | os.PathLike[str] | None = None, **options: Unpack[ExportOptions]
) -> ExportReport:
    """Export a trained model and prove that the file equals it.

    Progress is logged by `cae_export.exporter`, one line (INFO) before each long step.

    Args:
        model: a `model.pt` of `cae-train`.
        output: the file to write; by default `model.onnx` beside the model, `model-int8.onnx` and `model-fp16.onnx` for
            the other precisions.
        **options: any of these:

            - precision: "fp32" (the default), "int8" or "fp16".
            - data: data set or folder for proof and calibration; by default the model's own, else packaged patches.
            - data_dir: where named data sets lie; by default where they lay in training.
            - tolerance: largest absolute difference allowed between torch and the file (fp32 1e-4, fp16 1e-2).
            - max_drop: of int8, dB that it may lose against fp32 (0.1).
            - opset: ONNX operator set, 15 to 22 (18).
            - batch: patches that a call takes, 1 to 4096, for engines without dynamic sizes; by default any number.
            - input_name, output_name: names in the graph ("input" and "output").
            - layout: "nchw" or "nhwc" (channels last); by default the faster "nhwc" for int8 if possible, else "nchw".
            - portable: of int8, the style that other engines read: symmetric activations, ReLUs as operators, "nchw".
            - overlap: overlap of neighboring patches that the file recommends to the runtime, in pixels (8).
            - patch: side of the patches that the file takes, one of `cae_export.defaults.PATCHES` (32).
            - license: SPDX identifier of the weights' license, for the metadata.
            - overwrite: whether an existing output is replaced (it is not).

    Raises:
        OutputExistsError: the output exists, and `overwrite` is not set.
        UsageError: a model, data or option that cannot be used (also a FileNotFoundError if the model does not exist, a
            TypeError if something is not a path), or an output that cannot be written.
        RefusedError: the file is not equal, or loses too much; nothing is written.
    """
    settings = ExportSettings(**options)
    require("max_drop" not in options or settings.precision == "int8", "max_drop", settings.max_drop, "it is for int8")
    return write_proved(model, output, ENDING[settings.precision], partial(make_file, settings), settings.overwrite)


def make_file(
    settings: ExportSettings, loaded: LoadedModel, output: Path, patches: Patches | None = None
) -> tuple[bytes, ExportReport]:
    """Make and prove the file in the wanted precision.

    Args:
        settings: the options.
        loaded: the model.
        output: the path that the report names.
        patches: for calibration and proof; None takes those of `patches_of`.

    Raises:
        UsageError: data or options that the model cannot have.
        RefusedError: the file is not equal, or loses too much.
    """
    network, patches = loaded.network, patches or patches_of(loaded, settings)
    _log.info("converting; proving on %s%s", patches.source, patches.place)
    graph, layout = _converted(network, settings)
    spec = replace(_described(loaded, patches, settings), layout=layout)
    parity, fp32 = _proved(network, settings.written(graph), spec, patches, settings.tolerance or TOLERANCE)
    made, speed = fp32, None
    if settings.precision == "fp16":
        half, spec = settings.written(to_fp16(graph)), replace(spec, precision="fp16")
        parity, made = _proved(network, half, spec, patches, settings.tolerance or TOLERANCE_FP16)
    elif settings.precision == "int8":
        made, speed = _int8(network, fp32, patches, settings)
    return made.content, ExportReport(
        output, made.spec, len(made.content), len(fp32.content), tuple(parity), patches.source, len(patches.clean),
        cast(float, spec.psnr_in), fp32.psnr, made.psnr, speed,
    )  # fmt: skip


def patches_of(loaded: LoadedModel, settings: ExportSettings) -> Patches:
    """Patches for calibration and proof.

    Raises:
        UsageError: data that cannot be used, or a size of patches that the network does not take.
    """
    require(*takes(loaded, settings.patch))
    _log.info("%s: finding patches", loaded.arch)
    return find(loaded, settings.data_name, settings.patch, settings.data_folder)


def _described(loaded: LoadedModel, patches: Patches, settings: ExportSettings) -> ModelSpec:
    """The metadata of the file in fp32, but for the PSNR that it reaches."""
    return ModelSpec(
        **facts_of(loaded, settings.patch),
        patch=settings.patch,
        overlap=OVERLAP if settings.overlap is None else settings.overlap,
        psnr_in=round(mean_psnr(patches.degraded, patches.clean), 4),
        evaluated_on=patches.source,
        version=VERSION,
        license=settings.license,
    )


def _converted(network: nn.Module, settings: ExportSettings) -> tuple[onnx.ModelProto, str]:
    """The graph in fp32 and its layout; what int8 is compared with has channels first."""
    if settings.layout != NHWC or settings.precision == "int8":
        return to_onnx(network, settings.patch, settings.opset), NCHW
    return to_onnx(_rearranged(network, settings.patch), settings.patch, settings.opset, NHWC), NHWC


def _rearranged(network: nn.Module, patch: int, rounded: bool = False) -> ChannelsLast:
    """The network with channels last.

    Raises:
        UsageError: it cannot have them.
    """
    if not isinstance(network, Skip) or not ChannelsLast.fits(network, patch):
        raise UsageError(f"layout is {NHWC}: only skip with three channels and a transposed head can have it")
    return ChannelsLast(network, rounded=rounded).eval()


def _proved(
    network: nn.Module, graph: onnx.ModelProto, spec: ModelSpec, patches: Patches, tolerance: float
) -> tuple[list[BatchParity], OnnxFile]:
    """The file of a graph, compared with the network and measured.

    Raises:
        RefusedError: they differ.
    """
    file = build_file(graph, spec)
    rows = prove(network, file.session, patches)
    refuse_unless_equal(rows, tolerance)
    return rows, _measured(file, graph, patches)


def _measured(file: OnnxFile, graph: onnx.ModelProto, patches: Patches) -> OnnxFile:
    """The file with the PSNR that it reaches in its metadata.

    Raises:
        RefusedError: its output is not finite.
    """
    figure = mean_psnr(run(file.session, patches.degraded), patches.clean)
    if not math.isfinite(figure):
        raise RefusedError(f"refused: {file.spec.precision} returns values that are not finite")
    _log.debug("%s: %.4f dB", file.spec.precision, figure)
    return build_file(graph, replace(file.spec, psnr_out=round(figure, 4)))


def _int8(network: nn.Module, fp32: OnnxFile, patches: Patches, settings: ExportSettings) -> tuple[OnnxFile, float]:
    """The int8 file, and its speed as a multiple of fp32's.

    Raises:
        RefusedError: it depends on the size of the batch, or loses too much.
    """
    _log.info("quantizing on %d patches", len(patches.calibration))
    graph, layout = quantized(network, settings, patches)
    spec = replace(fp32.spec, precision="int8", psnr_out=None, layout=layout)
    written = settings.written(graph)
    made = _measured(build_file(written, spec), written, patches)
    linear = any(isinstance(module, nn.Linear) for module in network.modules())
    refuse_unless_steady(made.session, patches, BATCH_TOLERANCE if linear else TOLERANCE)
    speed = _speed(made.session, fp32.session, patches)
    before, after, limit = fp32.psnr, made.psnr, settings.max_drop
    if not before - after <= limit:
        raise RefusedError(
            f"refused: int8 gives {after:.2f} dB where fp32 gives {before:.2f} dB, {before - after:.2f} dB less "
            f"(at most {limit:g} dB are allowed); it would run at {speed:.2f} x fp32"
        )
    return made, speed


def quantized(network: nn.Module, settings: ExportSettings, patches: Patches) -> tuple[onnx.ModelProto, str]:
    """The int8 graph and its layout: channels last where the network can have it, as onnxruntime runs that faster."""
    patch = settings.patch
    can = isinstance(network, Skip) and ChannelsLast.fits(network, patch)
    if settings.portable or settings.layout == NCHW or (settings.layout is None and not can):
        graph = to_onnx(network, patch, settings.opset, for_int8=True)
        return to_int8(graph, patches.calibration, portable=settings.portable), NCHW
    last = _rearranged(network, patch, rounded=True)
    rearranged = to_onnx(last, patch, settings.opset, NHWC)
    return to_int8(rearranged, patches.calibration.permute(0, 2, 3, 1), last.stem_steps, end_in_float=True), NHWC


def _speed(candidate: Session, reference: Session, patches: Patches) -> float:
    """Speed of one session as a multiple of the other's: medians of interleaved rounds with batches of 16."""
    times: list[list[float]] = [[], []]
    for _ in range(SPEED_ROUNDS + 1):
        for session, taken in zip((candidate, reference), times, strict=True):
            start = time.perf_counter()
            run(session, patches.degraded[:SPEED_PATCHES], session.batch or SPEED_BATCH)
            taken.append(time.perf_counter() - start)
    fast, slow = (statistics.median(taken[1:]) for taken in times)
    return slow / fast
