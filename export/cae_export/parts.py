"""Files for what networks do beside restoring: encoders, decoders, detectors of anomalies; proved like the others."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cae_export.anomaly_scores import Scores
from cae_export.convert import check_opset, convert
from cae_export.defaults import BATCHES, FALSE_ALARMS, OPSET, PROOF_PATCHES, TOLERANCE
from cae_export.errors import RefusedError, UsageError
from cae_export.evaluation_data import Good, find, good_pictures
from cae_export.onnx_files import as_paths, check_model, check_output, save, usage_error
from cae_runtime import CaeRuntimeError, ModelSpec, Session
from cae_runtime.inference.model_spec import COLOR_OF_CHANNELS
from cae_runtime.tasks.anomaly import Detector
from cae_shared.temporary import discard, temporary_beside
from cae_train.checkpoint import load_model
from cae_train.config import PATCH
from cae_train.degradations.registry import described
from cae_train.errors import CaeTrainError

Part = Literal["encoder", "decoder", "anomaly"]

PIXELS_OF_GOOD = 0.999  # share of the pixels of good images that stay grey in a heat map
PIXELS_IN_ALL = 2**23  # of all held-out images that count for that
_SEED = 0

TASK = {"encoder": "encode", "decoder": "generate", "anomaly": "anomaly"}
NAMES = {"encoder": ("input", "code"), "decoder": ("code", "output"), "anomaly": ("input", "score")}
OVERLAP_OF = {"encoder": 0, "decoder": 0, "anomaly": PATCH // 2}


@dataclass(frozen=True)
class PartParity:
    """Torch beside onnxruntime at one batch size: largest absolute difference, and the largest value there is."""

    batch: int
    difference: float
    largest: float


@dataclass(frozen=True)
class PartReport:
    """What was made and how it was proved.

    Attributes:
        path: the file.
        spec: its metadata.
        bytes: its size.
        parity: torch beside the file at each batch size.
        inputs: what it was proved on.
        notes: what the user should know.
        rates: of a detector: between which the share of further good pictures above the threshold lies, nine times in
            ten.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    parity: tuple[PartParity, ...]
    inputs: str
    notes: tuple[str, ...] = ()
    rates: tuple[float, float] | None = None


def export_part(
    model: str | os.PathLike[str],
    part: Part,
    output: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    tolerance: float = TOLERANCE,
    false_alarms: float = FALSE_ALARMS,
    opset: int = OPSET,
    overlap: int | None = None,
    license: str = "",
    tell: Callable[[str], None] = lambda _line: None,
) -> PartReport:
    """Export what a trained model has beside restoring, and prove that the file equals it.

    Args:
        model: a `model.pt` of `cae-train`.
        part: "encoder" (task `encode`), "decoder" (task `generate`) or "anomaly".
        output: the file to write; by default `model-PART.onnx` beside the model. Replaced if it is there.
        data: data set or folder for the proof and, of "anomaly", of good pictures for the threshold: the held-out ones
            of the model's own data without it.
        data_dir: where named data sets lie; by default where they lay in training.
        tolerance: largest difference allowed between torch and the file, as a share of the largest value.
        false_alarms: of "anomaly": share of good pictures above the threshold.
        opset: ONNX operator set.
        overlap: overlap of neighbouring patches that the file recommends, in pixels; half a patch of "anomaly", else 0.
        license: SPDX identifier of the weights' licence.
        tell: called with a line before each long step.

    Raises:
        UsageError: a model, data or setting that cannot be used (where there is no such model, a FileNotFoundError too,
            where something is no path, a TypeError), or an output that cannot be written.
        RefusedError: the file is not equal; nothing is left under its name.
    """
    model, output, data, data_dir = as_paths(model, output, data, data_dir)
    check_model(model)
    output = output or model.with_name(f"{model.stem}-{part}.onnx")
    overlap = OVERLAP_OF[part] if overlap is None else overlap
    check_output(output)
    check_opset(opset)
    if not 0 < false_alarms < 1:
        raise UsageError(f"--false-alarms is {false_alarms}: above 0 and below 1 is needed")
    if not 0 <= overlap < PATCH:
        raise UsageError(f"--overlap is {overlap}: 0 to {PATCH - 1} pixels are needed")
    try:
        loaded = load_model(model)
        if part == "anomaly" and not loaded.network.bottleneck:
            raise UsageError(f"{loaded.arch} gives back whatever it is shown, as its picture goes around the code: a "
                             "detector needs cae, sparse, stacked, vae, or vgg16 without skips")  # fmt: skip
        network = Scores(loaded.network) if part == "anomaly" else loaded.network.part(part)
    except CaeTrainError as e:
        raise usage_error(e) from e
    good: Good | None = None
    if isinstance(network, Scores):
        tell(f"{loaded.arch}: learning what is usual in good pictures")
        good = good_pictures(loaded, data, data_dir)
        network.fit(good.usual)
    channels = loaded.network.channels
    if part == "decoder":
        shape: tuple[int, ...] = (loaded.network.options.latent,)
        inputs = torch.randn(PROOF_PATCHES, *shape, generator=torch.Generator().manual_seed(_SEED))
        source, place = f"{len(inputs)} codes of the standard normal distribution", ""
    else:
        tell(f"{loaded.arch}: finding patches")
        patches = find(loaded, data, PATCH, data_dir)
        inputs, source, place = patches.clean[:PROOF_PATCHES], patches.source, patches.place
        shape = tuple(inputs.shape[1:])
    unknown = 1 if part == "anomaly" else None  # until good pictures have been looked at
    spec = ModelSpec(
        task=TASK[part], architecture=loaded.arch, channels=channels, overlap=overlap,
        color=COLOR_OF_CHANNELS[channels], degradation=described(loaded.config), evaluated_on=source,
        version=loaded.version, license=license, threshold=unknown, threshold_pixel=unknown,
        false_alarms=false_alarms if part == "anomaly" else None, threshold_size=unknown, threshold_images=unknown,
    )  # fmt: skip
    tell(f"converting; proving on {source}{place}")
    given, made = NAMES[part]
    graph = convert(network.eval(), shape, opset, given=given, made=made)
    partial = temporary_beside(output)
    notes: list[str] = []
    rates = None
    try:
        save(graph, spec, partial)
        parity = _prove(network, partial, inputs, tolerance)
        if good is not None:
            tell(f"finding the threshold on {good.source}")
            spec, notes, rates = _calibrated(graph, spec, partial, good)
        partial.replace(output)
    except CaeRuntimeError as e:
        raise RefusedError(f"refused: the runtime cannot use the file: {e}") from e
    except OSError as e:
        raise UsageError(f"{output} cannot be written: {e.strerror or e}") from e
    finally:
        discard(partial)
    return PartReport(output, spec, output.stat().st_size, tuple(parity), source, tuple(notes), rates)


def _prove(network: nn.Module, path: Path, inputs: Tensor, tolerance: float) -> list[PartParity]:
    """Compare torch with the file at every batch size.

    Raises:
        RefusedError: they differ by more than `tolerance` times the largest value.
    """
    session = Session(path, provider="cpu")
    rows = []
    for batch in BATCHES:
        parts = torch.split(inputs, batch)
        with torch.inference_mode():
            trained = torch.cat([network(part) for part in parts])
        exported = torch.from_numpy(np.concatenate([session.run(part.numpy()) for part in parts]))
        if exported.shape != trained.shape:
            raise RefusedError(f"refused: the file gives shape {tuple(exported.shape)}, torch {tuple(trained.shape)}")
        row = PartParity(batch, float((trained - exported).abs().max()), float(trained.abs().max()))
        if not row.difference <= tolerance * row.largest:  # a NaN is refused too
            raise RefusedError(
                f"refused: at batch {batch} the file differs from the trained network by {row.difference:.2e} "
                f"(at most {tolerance:.0e} of the largest value, {row.largest:.3g})"
            )
        rows.append(row)
    return rows


def _calibrated(
    graph: onnx.ModelProto, spec: ModelSpec, path: Path, good: Good
) -> tuple[ModelSpec, list[str], tuple[float, float]]:
    """Find the thresholds on good pictures that were not trained on, with the runtime itself, and write them."""
    detector = Detector(Session(path, provider="cpu"))
    scores, pixels = [], []
    for image in good.others:
        found = detector(as_read(image))
        scores.append(found.score)
        flat = found.heat.ravel()
        pixels.append(flat[:: -(-flat.size * len(good.others) // PIXELS_IN_ALL)])
    rate = float(spec.false_alarms or FALSE_ALARMS)
    threshold = float(np.quantile(scores, 1 - rate, method="higher"))
    of_pixels = float(np.quantile(np.concatenate(pixels), PIXELS_OF_GOOD))
    if not (threshold > 0 and of_pixels > 0):
        raise RefusedError("refused: all good pictures are of one colour: there is no threshold")
    size = int(np.median([math.prod(image.shape[:2]) for image in good.others]))
    spec = replace(
        spec,
        threshold=threshold,
        threshold_pixel=of_pixels,
        threshold_size=size,
        threshold_images=len(scores),
        evaluated_on=good.source,
    )
    save(graph, spec, path)
    notes = [good.note] if good.note else []
    rates = rates_beyond(len(scores), sum(score > threshold for score in scores))
    if len(scores) * rate < 1:
        notes.append(
            f"{len(scores)} good pictures are too few for a rate of {rate:g}: the threshold is their largest score; "
            "name more with --data"
        )
    return spec, notes, rates


def rates_beyond(count: int, above: int) -> tuple[float, float]:
    """Between which the share of further values lies that exceed one of `count`, which `above` of the others do.

    The share is distributed as Beta(above + 1, count - above); these are where it has 5 % and 95 % below it. Source:
    distribution-free tolerance limits, Wilks (1941).
    """

    def below(rate: float) -> float:  # that the share is less: at least above + 1 of `count` drawn exceed
        few = sum(math.comb(count, i) * rate**i * (1 - rate) ** (count - i) for i in range(above + 1))
        return 1 - few

    bounds = []
    for wanted in (0.05, 0.95):
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < wanted else (low, middle)
        bounds.append(low)
    return bounds[0], bounds[1]


def as_read(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W x C, RGB or grey, as the runtime's decoder gives it: BGR, or H x W."""
    return np.ascontiguousarray(image[..., ::-1]) if image.shape[2] == 3 else image[..., 0]
