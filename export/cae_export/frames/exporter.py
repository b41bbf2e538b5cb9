"""`model.pt` in, a proved file for whole frames out: compared with torch at odd sizes, and with sliding patches."""

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from cae_export.defaults import TOLERANCE, TOLERANCE_FP16
from cae_export.errors import RefusedError, UsageError
from cae_export.evaluation_data import find
from cae_export.frames.graph import WholeFrame, frame_graph, random_frame
from cae_export.frames.session import FrameSession
from cae_export.graphs.boundary import refuse_invalid
from cae_export.graphs.convert import to_onnx
from cae_export.graphs.onnx_files import build_file
from cae_export.graphs.quantize import to_fp16
from cae_export.parity import mean_psnr
from cae_export.proved_file import VERSION, FileOptions, FileSettings, require, takes, write_proved
from cae_runtime import ModelSpec, Restorer
from cae_runtime.inference.model_spec import COLOR_OF_CHANNELS, WHOLE_FRAME
from cae_train.checkpoint import LoadedModel
from cae_train.config import PATCH
from cae_train.degradations.registry import chain_of, described
from cae_train.models.base import Autoencoder

SIZES = ((1, 1), (3, 401), (33, 47), (127, 255), (240, 321))  # height and width at which a file is proved
LEAST = 0.05  # dB that whole frames may be below sliding patches
SIDE, FRAMES = 128, 64  # of the pictures on which that is measured, and how many
ENDING = {"fp32": "-frame.onnx", "fp16": "-frame-fp16.onnx"}

_log = logging.getLogger(__name__)


class FrameOptions(FileOptions, total=False):
    """Options of `export_frames`, which says what they are."""

    precision: Literal["fp32", "fp16"]


@dataclass(frozen=True, kw_only=True)
class FrameSettings(FileSettings):
    """Options of `export_frames`, checked."""

    precision: Literal["fp32", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.precision in ENDING, "precision", repr(self.precision), f"choose from {', '.join(ENDING)}")
        self.check_names()
        require(self.overlap is None, "overlap", self.overlap, "whole frames have none")


@dataclass(frozen=True)
class SizeParity:
    """PyTorch compared with the file at one size: the largest absolute difference."""

    height: int
    width: int
    difference: float


@dataclass(frozen=True)
class FrameReport:
    """The exported file and its proof.

    Attributes:
        path: the file.
        bytes: its size.
        precision: "fp32" or "fp16".
        parity: comparison with PyTorch at each size.
        patches: the data that the figures were measured on.
        count: the number of these pictures, of `SIDE` pixels per side.
        psnr_in: PSNR of the degraded pictures, dB.
        psnr_sliding: that of the fp32 model on sliding patches, as `cae-run` runs it.
        psnr_out: that of this file.
    """

    path: Path
    bytes: int
    precision: str
    parity: tuple[SizeParity, ...]
    patches: str
    count: int
    psnr_in: float
    psnr_sliding: float
    psnr_out: float


def export_frames(
    model: str | os.PathLike[str], output: str | os.PathLike[str] | None = None, **options: Unpack[FrameOptions]
) -> FrameReport:
    """Export a trained model as a file that takes whole frames of any size, for other programs.

    The file takes and gives float32 N x C x H x W in 0..1 (RGB), of any N, H and W; it repeats the last row and column
    where the network needs it. `cae-run` does not take it: it cleans in patches, which need less memory.

    Args:
        model: a `model.pt` of `cae-train`.
        output: the file to write; by default `model-frame.onnx` beside the model, or `model-frame-fp16.onnx`.
        **options: `precision` ("fp32" or "fp16"), and of those of `export`: data, data_dir, tolerance, opset, batch,
            input_name, output_name, license, overwrite.

    Raises:
        OutputExistsError: the output exists, and `overwrite` is not set.
        UsageError: a model, data or option that cannot be used, or an output that cannot be written.
        RefusedError: the file is not equal to the network, or more than 0.05 dB below sliding patches; nothing is
            written.
    """
    settings = FrameSettings(**options)
    return write_proved(model, output, ENDING[settings.precision], partial(_make, settings), settings.overwrite)


def _make(settings: FrameSettings, loaded: LoadedModel, output: Path) -> tuple[bytes, FrameReport]:
    """Make and prove the file."""
    network = loaded.network
    _check(loaded)
    patches = find(loaded, settings.data_name, SIDE, settings.data_folder).first(FRAMES)
    _log.info("converting; proving at %d sizes, and on %s%s", len(SIZES), patches.source, patches.place)
    graph = frame_graph(network, settings.opset)
    half = settings.precision == "fp16"
    content = _with_metadata(settings.written(to_fp16(graph) if half else graph), loaded, settings)
    session = FrameSession(content)
    parity = tuple(_parity(network, session, settings))
    limit = settings.tolerance or (TOLERANCE_FP16 if half else TOLERANCE)
    for row in parity:
        if not row.difference <= limit:
            raise RefusedError(
                f"refused: at {row.width}x{row.height} pixels the file differs from the trained network by "
                f"{row.difference:.2e} (at most {limit:.0e})"
            )
    _log.info("comparing with sliding patches on %d pictures", len(patches.clean))
    given = mean_psnr(patches.degraded, patches.clean)
    whole = mean_psnr(session.run(patches.degraded, settings.batch or 1), patches.clean)
    sliding = mean_psnr(_slid(loaded, settings, patches.degraded), patches.clean)
    if not sliding - whole <= LEAST:
        raise RefusedError(
            f"refused: on whole frames the network gives {whole:.2f} dB where it gives {sliding:.2f} dB on patches, "
            f"{sliding - whole:.2f} dB less (at most {LEAST:g} dB are allowed)"
        )
    return content, FrameReport(
        output, len(content), settings.precision, parity, patches.source, len(patches.clean), given, sliding, whole
    )


def _check(loaded: LoadedModel) -> None:
    """Refuse networks that cannot take whole frames.

    Raises:
        UsageError: it is such a network.
    """
    if loaded.network.side is not None or any(isinstance(each, nn.Linear) for each in loaded.network.modules()):
        raise UsageError(f"{loaded.arch} takes patches of {loaded.network.side or PATCH} pixels only: whole frames "
                         "need a network of convolutions, such as skip")  # fmt: skip
    if chain_of(loaded.config).leaves_holes:
        raise UsageError("the model fills holes: whole frames are for models that clean")
    require(*takes(loaded, SIDE))


def _parity(network: Autoencoder, session: FrameSession, settings: FrameSettings) -> list[SizeParity]:
    """Compare the file with the network at each size."""
    frame, rows = WholeFrame(network), []
    for seed, (height, width) in enumerate(SIZES):
        count = settings.batch or 1
        given = random_frame(network.channels, (height, width), seed).expand(count, -1, -1, -1)
        with torch.inference_mode():
            difference = float((frame(given) - session.run(given, count)).abs().max())
        rows.append(SizeParity(height, width, difference))
    return rows


def _slid(loaded: LoadedModel, settings: FrameSettings, pictures: Tensor) -> Tensor:
    """Return the runtime's output for pictures, N x C x H x W, with the same network on patches."""
    graph = to_onnx(loaded.network, PATCH, settings.opset)
    channels = loaded.network.channels
    spec = ModelSpec(
        task="restore", architecture=loaded.arch, patch=PATCH, channels=channels, overlap=8,
        color=COLOR_OF_CHANNELS[channels], degradation=described(loaded.config), psnr_in=None, psnr_out=None,
        evaluated_on="", version=VERSION, license="",
    )  # fmt: skip
    with Restorer(build_file(graph, spec).session, color="rgb") as restore:
        made = [restore(np.ascontiguousarray(each.permute(1, 2, 0).clamp(0, 1).numpy())) for each in pictures]
    return torch.stack([torch.from_numpy(each) for each in made]).permute(0, 3, 1, 2)


def _with_metadata(graph: onnx.ModelProto, loaded: LoadedModel, settings: FrameSettings) -> bytes:
    """The content of the file; its metadata say what it is.

    Raises:
        RefusedError: it is not valid ONNX.
    """
    channels = loaded.network.channels
    onnx.helper.set_model_props(graph, {
        WHOLE_FRAME: "1", "architecture": loaded.arch, "color": COLOR_OF_CHANNELS[channels],
        "degradation": described(loaded.config), "precision": settings.precision, "version": VERSION,
        "license": settings.license, "range": "0..1", "layout": "nchw",
    })  # fmt: skip
    content: bytes = graph.SerializeToString()
    refuse_invalid(content)
    return content
