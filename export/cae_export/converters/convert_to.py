"""`model.pt` in, a folder for another inference engine out: converted from a proved ONNX file, run, and compared."""

import json
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Unpack, get_args

import numpy as np
import onnx
import torch

from cae_export.converters.engine import Engine, Floats
from cae_export.defaults import ENGINE_TOLERANCE, PROOF_PATCHES, PSNR_TOLERANCE
from cae_export.errors import ArgumentTypeError, OutputExistsError, RefusedError, UsageError
from cae_export.evaluation_data import Patches
from cae_export.exporter import ExportOptions, ExportSettings, make_file, patches_of
from cae_export.graphs.boundary import Boundary, with_boundary
from cae_export.parity import RUN_BATCH, mean_psnr
from cae_export.proved_file import loaded_model, not_written, refuse_unwritable, require
from cae_runtime import ModelSpec
from cae_runtime.inference.model_spec import NCHW, NHWC
from cae_shared.paths import checked_path
from cae_shared.temporary import whole_folder
from cae_train.checkpoint import LoadedModel

Target = Literal["openvino", "mnn", "ncnn"]
TARGETS: tuple[Target, ...] = get_args(Target)
METADATA = "metadata.json"
FILES = {"model.xml", "model.bin", "model.mnn", "model.param"}  # of all engines

_checked_path = partial(checked_path, wrong_type=ArgumentTypeError, empty=UsageError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionReport:
    """The folder for an engine and its proof.

    Attributes:
        path: the folder.
        target: the engine.
        files: names in the folder.
        bytes: their size.
        spec: the metadata, with the PSNR that the engine reaches.
        difference: largest absolute difference from torch.
        torch_psnr: PSNR of the trained network's output, dB.
        engine_psnr: PSNR of the engine's output, dB.
        patches: the data that the figures were measured on.
        count: the number of these patches.
    """

    path: Path
    target: Target
    files: tuple[str, ...]
    bytes: int
    spec: ModelSpec
    difference: float
    torch_psnr: float
    engine_psnr: float
    patches: str
    count: int


def convert_to(
    target: Target,
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    **options: Unpack[ExportOptions],
) -> ConversionReport:
    """Convert a model for another inference engine, and prove that it equals the trained network there.

    The usual ONNX file is made and proved in memory. The engine's own converter takes it, and the engine runs the
    result on the patches of the proof: in fp32 at most 2e-3 from torch, with the same PSNR to 0.01 dB; in int8 and fp16
    at most `max_drop` dB below torch.

    Args:
        target: "openvino" (model.xml, model.bin), "mnn" (model.mnn) or "ncnn" (model.param, model.bin).
        model: a `model.pt` of `cae-train`.
        output: the folder to write; by default `model-TARGET` beside the model. It holds `metadata.json` too: the
            metadata of the ONNX file, the engine, and the names of its input and output there.
        **options: those of `export`; `overwrite` replaces a folder that this function wrote.

    Raises:
        OutputExistsError: the output exists, and `overwrite` is not set.
        UsageError: a model, data or option that cannot be used, an engine that is unknown or not installed, or an
            output that cannot be written.
        RefusedError: the engine cannot convert or run it, or differs too much; nothing is written.
    """
    engine = _engine(target)
    settings = ExportSettings(**options)
    if "max_drop" in options and settings.precision == "fp32":
        raise UsageError("max_drop is for int8 and fp16: in fp32 an engine may lose 0.01 dB at most")
    if not engine.channels_last:
        if settings.layout == NHWC:
            raise UsageError(f"layout is {NHWC}: {target} takes {NCHW}")
        settings = replace(settings, layout=NCHW)
    if engine.batch is not None:
        for name in ("batch", "input_name", "output_name"):
            given = getattr(settings, name)
            require(given in (None, engine.batch), name, repr(given), f"{target} has a fixed one of its own")
    source = _checked_path("model", model)
    folder = source.with_name(f"{source.stem}-{target}") if output is None else _checked_path("output", output)
    with loaded_model(source) as loaded:
        _check_folder(folder, settings.overwrite)
        patches = patches_of(loaded, settings)
        content, report = make_file(settings, loaded, folder, patches)
        try:
            with whole_folder(folder.absolute()) as temporary:  # converters run in folders of their own
                return _converted(target, engine, content, report.spec, loaded, patches, settings, folder, temporary)
        except OSError as e:
            raise not_written(folder, e) from e


def _engine(target: str) -> Engine:
    """The engine of a name.

    Raises:
        UsageError: there is none, or it is not installed.
    """
    if target not in TARGETS:
        raise UsageError(f"to is {target!r}: choose from {', '.join(TARGETS)}")
    engine: Engine = import_module(f"cae_export.converters.{target}").ENGINE
    missing = [name for name in engine.modules if find_spec(name) is None]
    if missing:
        extra = f"to-{target}"
        raise UsageError(
            f"{target} is not installed: pip install 'cae-toolkit[{extra}]' (in a checkout: pip install -e "
            f"'.[{extra}]') ({', '.join(missing)} is missing)"
        )
    return engine


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work is done."""
    if folder.name in ("", ".."):
        raise UsageError(f"output {str(folder)!r} is not the name of a new folder: choose one")
    if not folder.parent.is_dir():
        raise UsageError(f"output {str(folder)!r}: there is no such folder as {str(folder.parent)!r}")
    if folder.exists() and not overwrite:
        raise OutputExistsError(f"output {str(folder)!r} exists already")
    if folder.is_symlink() or (folder.exists() and not _was_written(folder)):
        raise UsageError(
            f"output {str(folder)!r} holds more than the files of an export and is not replaced: choose another folder"
        )
    refuse_unwritable(folder)


def _was_written(folder: Path) -> bool:
    """Whether a folder holds what a conversion wrote, and nothing else."""
    try:
        says = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        names = {path.name for path in folder.iterdir()}
    except (OSError, ValueError):
        return False
    return isinstance(says, dict) and says.get("engine") in TARGETS and "schema" in says and names <= FILES | {METADATA}


def _converted(
    target: Target, engine: Engine, content: bytes, spec: ModelSpec, loaded: LoadedModel, patches: Patches,
    settings: ExportSettings, folder: Path, temporary: Path,
) -> ConversionReport:  # fmt: skip
    """Fill the temporary folder with the proved files.

    Raises:
        RefusedError: the engine cannot convert or run it, or differs too much.
    """
    if engine.batch is not None:
        fixed = with_boundary(onnx.load_from_string(content), Boundary(batch=engine.batch))
        content = fixed.SerializeToString()
    _log.info("converting for %s", target)
    ends = engine.write(content, temporary)
    some = patches.first(PROOF_PATCHES)
    degraded, clean = some.degraded, some.clean
    _log.info("running %d patches in %s", len(clean), target)
    made = torch.from_numpy(_run(target, engine, temporary, ends, degraded.numpy(), spec.layout == NHWC))
    with torch.inference_mode():
        trained = torch.cat([loaded.network(part) for part in torch.split(degraded, RUN_BATCH)])
    difference = float((trained - made).abs().max())
    before, after = mean_psnr(trained, clean), mean_psnr(made, clean)
    _refuse_unless_equal(target, spec.precision, difference, before - after, settings.max_drop)
    given = mean_psnr(degraded, clean)
    spec = replace(spec, psnr_in=round(given, 4), psnr_out=round(after, 4), evaluated_on=some.source)
    files = tuple(sorted(path.name for path in temporary.iterdir()))
    says = {"engine": target, "input": ends[0], "output": ends[1], **spec.to_metadata()}
    (temporary / METADATA).write_text(f"{json.dumps(says, indent=2)}\n", encoding="utf-8")
    files = (*files, METADATA)
    size = sum((temporary / name).stat().st_size for name in files)
    return ConversionReport(folder, target, files, size, spec, difference, before, after, some.source, len(clean))


def _run(target: str, engine: Engine, folder: Path, ends: tuple[str, str], patches: Floats, last: bool) -> Floats:
    """Return the engine's output for patches, N x C x P x P, whatever the layout of its file.

    Raises:
        RefusedError: it cannot run them, or gives another shape.
    """
    fed = np.ascontiguousarray(patches.transpose(0, 2, 3, 1) if last else patches)
    made = engine.run(folder, ends, fed)
    if made.shape != fed.shape:
        raise RefusedError(f"refused: {target} gives the shape {made.shape} where {fed.shape} is right")
    return np.ascontiguousarray(made.transpose(0, 3, 1, 2) if last else made)


def _refuse_unless_equal(target: str, precision: str, difference: float, drop: float, max_drop: float) -> None:
    """Refuse an engine that differs from torch.

    Raises:
        RefusedError: naming the difference and the bounds; NaN is refused too.
    """
    if precision != "fp32":
        if not drop <= max_drop:
            raise RefusedError(
                f"refused: {precision} in {target} loses {drop:.2f} dB (at most {max_drop:g} are allowed)"
            )
    elif not (difference <= ENGINE_TOLERANCE and abs(drop) <= PSNR_TOLERANCE):
        raise RefusedError(
            f"refused: {target} differs from the trained network by {difference:.2e} (at most {ENGINE_TOLERANCE:.0e}) "
            f"and {-drop:+.3f} dB (at most {PSNR_TOLERANCE})"
        )
