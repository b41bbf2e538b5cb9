"""Exports encoders, decoders and detectors of anomalies, with a proof."""

import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

import onnx
import torch
from torch import Tensor, nn

from cae_export.defaults import FALSE_ALARMS, PROOF_PATCHES, TOLERANCE
from cae_export.detector.scores import Scores
from cae_export.detector.thresholds import find_thresholds
from cae_export.errors import RefusedError, UsageError, require_number
from cae_export.evaluation_data import find, folder_of, good_pictures
from cae_export.graphs.convert import convert
from cae_export.graphs.onnx_files import build_file
from cae_export.parity import at_each_batch
from cae_export.proved_file import VERSION, FileOptions, FileSettings, require, write_proved
from cae_runtime import ModelSpec, Session
from cae_runtime.inference.model_spec import COLOR_OF_CHANNELS
from cae_train.checkpoint import LoadedModel
from cae_train.config import PATCH
from cae_train.data.registry import framed_side
from cae_train.degradations.registry import described

Part = Literal["encoder", "decoder", "anomaly"]

_SEED = 0

TASK = {"encoder": "encode", "decoder": "generate", "anomaly": "anomaly"}
NAMES = {"encoder": ("input", "code"), "decoder": ("code", "output"), "anomaly": ("input", "score")}
OVERLAP_OF = {"encoder": 0, "decoder": 0, "anomaly": PATCH // 2}

_log = logging.getLogger(__name__)


class PartOptions(FileOptions, total=False):
    """Options of `export_part`, which says what they are."""

    false_alarms: float


@dataclass(frozen=True, kw_only=True)
class _Settings(FileSettings):
    false_alarms: float = FALSE_ALARMS

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("false_alarms", self.false_alarms)
        require(0 < self.false_alarms < 1, "false_alarms", self.false_alarms, "above 0 and below 1 is needed")
        self.check_overlap(PATCH)


@dataclass(frozen=True)
class PartParity:
    """PyTorch compared with onnxruntime at one batch size: largest absolute difference, and largest value."""

    batch: int
    difference: float
    largest: float


@dataclass(frozen=True)
class PartReport:
    """The exported file and its proof.

    Attributes:
        path: the file.
        spec: its metadata.
        bytes: its size.
        parity: comparison of PyTorch with the file at each batch size.
        inputs: the data of the proof.
        notes: remarks for the user.
        above: for a detector, how many of the good pictures score higher than the threshold.
        rates: for a detector, the 95 % interval of the share of new good pictures above the threshold.
        folder: for a detector, the folder of good pictures, if there is one.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    parity: tuple[PartParity, ...]
    inputs: str
    notes: tuple[str, ...] = ()
    above: int | None = None
    rates: tuple[float, float] | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class _Inputs:
    """What a part is proved on: float32 N x ..., where they come from, and where on this machine, in brackets."""

    values: Tensor
    source: str
    place: str = ""


def export_part(
    model: str | os.PathLike[str],
    part: Part,
    output: str | os.PathLike[str] | None = None,
    **options: Unpack[PartOptions],
) -> PartReport:
    """Export the encoder, decoder or anomaly detector of a trained model, and prove that the file equals it.

    Progress is logged by `cae_export.parts`, one line (INFO) before each long step.

    Args:
        model: a `model.pt` of `cae-train`.
        part: "encoder" (task `encode`), "decoder" (task `generate`) or "anomaly".
        output: the file to write; by default `model-PART.onnx` beside the model.
        **options: any of these:

            - data: data set or folder for the proof and, of "anomaly", of good pictures for the threshold: the
              model's own data without it, each picture scored by a fit to the others.
            - data_dir: where named data sets lie; by default where they lay in training.
            - tolerance: largest difference allowed between torch and the file, as a share of the largest value (1e-4).
            - false_alarms: of "anomaly": share of good pictures above the threshold (0.05).
            - opset: ONNX operator set, 15 to 22 (18).
            - batch: patches or codes that a call takes, 1 to 4096; by default any number.
            - input_name, output_name: names in the graph ("input" or "code"; "output", "code" or "score").
            - overlap: overlap of neighboring patches that the file recommends, in pixels; half a patch of "anomaly",
              else 0.
            - license: SPDX identifier of the weights' license.
            - overwrite: whether an existing output is replaced (it is not).

    Raises:
        OutputExistsError: the output exists, and `overwrite` is not set.
        UsageError: a model, data or option that cannot be used (also a FileNotFoundError if the model does not exist, a
            TypeError if something is not a path), or an output that cannot be written.
        RefusedError: the file is not equal; nothing is written.
    """
    require(part in TASK, "part", repr(part), f"choose from {', '.join(TASK)}")
    settings = _Settings(**options)
    settings.check_names(*NAMES[part])
    return write_proved(model, output, f"-{part}.onnx", partial(_make, part, settings), settings.overwrite)


def _make(part: Part, settings: _Settings, loaded: LoadedModel, output: Path) -> tuple[bytes, PartReport]:
    """Make and prove the file of a part."""
    if part == "anomaly":
        return _make_detector(settings, loaded, output)
    network = loaded.network.part(part)
    inputs = _codes(loaded) if part == "decoder" else _patches(loaded, settings)
    spec = _described(part, settings, loaded, inputs)
    graph = _converted(part, network, inputs, settings)
    file = build_file(graph, spec)
    parity = _prove(network, file.session, inputs.values, settings)
    return file.content, PartReport(output, spec, len(file.content), parity, inputs.source)


def _make_detector(settings: _Settings, loaded: LoadedModel, output: Path) -> tuple[bytes, PartReport]:
    """Make and prove a detector, and find its thresholds."""
    if not loaded.network.bottleneck:
        raise UsageError(
            f"{loaded.arch} reproduces any picture, since its skip connections bypass the code: a detector needs "
            "cae, sparse, stacked, vae, or vgg16 without skips"
        )
    network = Scores(loaded.network)
    _log.info("%s: learning what is usual in good pictures", loaded.arch)
    good = good_pictures(loaded, settings.data_name, settings.data_folder)
    network.fit(good.usual, good.numbers)
    inputs = _patches(loaded, settings)
    spec = _described("anomaly", settings, loaded, inputs)
    graph = _converted("anomaly", network, inputs, settings)
    file = build_file(graph, spec)
    parity = _prove(network, file.session, inputs.values, settings)
    _log.info("finding the threshold on %s", good.source)
    found = find_thresholds(network, file.session, good, settings.false_alarms)
    spec = replace(
        spec, threshold=found.picture, threshold_pixel=found.pixel, threshold_size=found.size,
        threshold_images=found.images, good_scores=found.scores, good_brightness=found.brightness,
        evaluated_on=good.source,
    )  # fmt: skip
    content = build_file(graph, spec).content
    folder = folder_of(loaded, settings.data_name)
    return content, PartReport(
        output, spec, len(content), parity, inputs.source, found.notes, found.above, found.rates, folder
    )


def _codes(loaded: LoadedModel) -> _Inputs:
    """Codes for a decoder."""
    generator = torch.Generator().manual_seed(_SEED)
    codes = torch.randn(PROOF_PATCHES, loaded.network.options.latent, generator=generator)
    return _Inputs(codes, f"{len(codes)} codes of the standard normal distribution")


def _patches(loaded: LoadedModel, settings: _Settings) -> _Inputs:
    """Clean patches."""
    _log.info("%s: finding patches", loaded.arch)
    patches = find(loaded, settings.data_name, PATCH, settings.data_folder).first(PROOF_PATCHES)
    return _Inputs(patches.clean, patches.source, patches.place)


def _described(part: Part, settings: _Settings, loaded: LoadedModel, inputs: _Inputs) -> ModelSpec:
    """The metadata of a part's file; a detector's thresholds are 1 until good pictures have been looked at."""
    unknown = 1 if part == "anomaly" else None
    return ModelSpec(
        task=TASK[part],
        architecture=loaded.arch,
        channels=loaded.network.channels,
        overlap=OVERLAP_OF[part] if settings.overlap is None else settings.overlap,
        color=COLOR_OF_CHANNELS[loaded.network.channels],
        degradation=described(loaded.config),
        evaluated_on=inputs.source,
        version=VERSION,
        license=settings.license,
        framed=framed_side(loaded.config.data),
        threshold=unknown,
        threshold_pixel=unknown,
        threshold_size=unknown,
        threshold_images=unknown,
        false_alarms=settings.false_alarms if part == "anomaly" else None,
    )


def _converted(part: Part, network: nn.Module, inputs: _Inputs, settings: _Settings) -> onnx.ModelProto:
    _log.info("converting; proving on %s%s", inputs.source, inputs.place)
    given, made = NAMES[part]
    graph = convert(network.eval(), tuple(inputs.values.shape[1:]), settings.opset, given=given, made=made)
    return settings.written(graph)


def _prove(network: nn.Module, session: Session, inputs: Tensor, settings: _Settings) -> tuple[PartParity, ...]:
    """Compare torch with the file at every batch size.

    Raises:
        RefusedError: they differ by more than the tolerance times the largest value.
    """
    tolerance = settings.tolerance or TOLERANCE
    rows = []
    for batch, trained, exported in at_each_batch(network, session, inputs):
        if exported.shape != trained.shape:
            raise RefusedError(f"refused: the file gives shape {tuple(exported.shape)}, torch {tuple(trained.shape)}")
        row = PartParity(batch, float((trained - exported).abs().max()), float(trained.abs().max()))
        if not row.difference <= tolerance * row.largest:  # a NaN is refused too
            raise RefusedError(
                f"refused: at batch {batch} the file differs from the trained network by {row.difference:.2e} "
                f"(at most {tolerance:.0e} of the largest value, {row.largest:.3g})"
            )
        rows.append(row)
    return tuple(rows)
