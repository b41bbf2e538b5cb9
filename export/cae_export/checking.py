"""Proves a file that exists: that it still equals the model it came from."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch

from cae_export.defaults import BATCH_TOLERANCE, MAX_DROP, PROOF_PATCHES, TOLERANCE, TOLERANCE_FP16
from cae_export.errors import ArgumentTypeError, ModelNotFoundError, RefusedError, UsageError
from cae_export.evaluation_data import Patches, find
from cae_export.graphs.boundary import refuse_invalid
from cae_export.graphs.onnx_files import facts_of
from cae_export.parity import (
    RUN_BATCH,
    BatchParity,
    independent_loss,
    mean_psnr,
    prove,
    refuse_unless_equal,
    refuse_unless_steady,
    run,
)
from cae_export.proved_file import FileSettings, loaded_model, require, takes
from cae_runtime import CaeRuntimeError, ModelSpec, Session
from cae_shared.paths import checked_path
from cae_train.checkpoint import LoadedModel

APART = 4  # times `max_drop`: the most that `independent_loss` may be; packaged int8 files reach 2.6, other networks 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckReport:
    """A file, compared with a trained network.

    Attributes:
        path: the file.
        spec: its metadata.
        parity: comparison of PyTorch with the file at each batch size; none for int8, which is judged by its PSNR.
        patches: the data that the figures were measured on.
        count: the number of these patches.
        psnr_in: PSNR of the degraded patches, dB.
        psnr_torch: PSNR of the trained network's output, dB.
        psnr_out: PSNR of the file's output, dB.
    """

    path: Path
    spec: ModelSpec
    parity: tuple[BatchParity, ...]
    patches: str
    count: int
    psnr_in: float
    psnr_torch: float
    psnr_out: float


def check(
    file: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    tolerance: float | None = None,
    max_drop: float = MAX_DROP,
) -> CheckReport:
    """Prove that an exported file that restores pictures equals a trained model, as an export does.

    Args:
        file: an ONNX file of `export`, perhaps converted by another tool since.
        model: the `model.pt` that it came from.
        data: see `export`.
        data_dir: see `export`.
        tolerance: largest absolute difference allowed between torch and the file (fp32 1e-4, fp16 1e-2).
        max_drop: dB that int8 may lose against the trained network (0.1). Its output must also be that of this network:
            see `cae_export.parity.independent_loss`, which may be four times as much.

    Raises:
        UsageError: a file, model, data or option that cannot be used (also a FileNotFoundError if the file or the model
            does not exist).
        RefusedError: the file is not valid, or differs from the model.
    """
    settings = FileSettings(data=data, data_dir=data_dir, tolerance=tolerance)
    require(max_drop >= 0, "max_drop", max_drop, "0 dB or more is needed")
    path = checked_path("file", file, wrong_type=ArgumentTypeError, empty=UsageError)
    if not path.exists():
        raise ModelNotFoundError(f"file {str(path)!r} does not exist: name an ONNX file that cae-export wrote")
    with loaded_model(model) as loaded:
        session = _opened(path)
        patches = _patches_for(session.spec, loaded, settings)
        _log.info("proving on %s%s", patches.source, patches.place)
        return _compared(path, session, loaded, patches, tolerance, max_drop)


def _opened(path: Path) -> Session:
    """Open a file that restores.

    Raises:
        RefusedError: it is not valid ONNX.
        UsageError: it cannot be opened, or has another task.
    """
    try:
        session = Session(path, provider="cpu")
        refuse_invalid(path.read_bytes())
    except (CaeRuntimeError, OSError) as e:
        raise UsageError(str(e)) from e
    if not session.spec.restores:
        raise UsageError(
            f"file {str(path)!r} has task {session.spec.task}: files that restore or inpaint can be checked"
        )
    return session


def _patches_for(spec: ModelSpec, loaded: LoadedModel, settings: FileSettings) -> Patches:
    """Patches of the file's size.

    Raises:
        RefusedError: the metadata of the file are not those of the model.
    """
    fits, _, _, only = takes(loaded, spec.patch)
    if not fits:
        raise RefusedError(
            f"refused: the file has patches of {spec.patch} pixels, and {only}: it came from another model"
        )
    for name, ours in facts_of(loaded, spec.patch).items():
        if (theirs := getattr(spec, name)) != ours:
            shown = (shorten(str(value), 60, placeholder="...") for value in (theirs, ours))
            raise RefusedError(
                f"refused: the file has {name} {next(shown)} and the model {next(shown)}: it came from another model, "
                "or its metadata were changed"
            )
    return find(loaded, settings.data_name, spec.patch, settings.data_folder).first(PROOF_PATCHES)


def _compared(
    path: Path, session: Session, loaded: LoadedModel, patches: Patches, tolerance: float | None, max_drop: float
) -> CheckReport:
    """Compare them.

    Raises:
        RefusedError: they differ by more than is allowed.
        UsageError: there is a tolerance for an int8 file.
    """
    precision, parity = session.spec.precision, []
    if precision == "int8":
        require(
            tolerance is None, "tolerance", tolerance, "the file is int8, for which only the loss in PSNR is limited"
        )
        linear = any(isinstance(module, torch.nn.Linear) for module in loaded.network.modules())
        refuse_unless_steady(session, patches, BATCH_TOLERANCE if linear else TOLERANCE)
    else:
        parity = prove(loaded.network, session, patches)
        refuse_unless_equal(parity, tolerance or (TOLERANCE_FP16 if precision == "fp16" else TOLERANCE))
    with torch.inference_mode():
        wanted = torch.cat([loaded.network(part) for part in torch.split(patches.degraded, RUN_BATCH)])
    found = run(session, patches.degraded)
    trained, reached = mean_psnr(wanted, patches.clean), mean_psnr(found, patches.clean)
    if not trained - reached <= max_drop:
        raise RefusedError(
            f"refused: {precision} gives {reached:.2f} dB where the trained network gives {trained:.2f} dB, "
            f"{trained - reached:.2f} dB less (at most {max_drop:g} dB are allowed)"
        )
    apart, limit = independent_loss(wanted, found, patches.clean), APART * max(max_drop, MAX_DROP)
    if precision == "int8" and not apart <= limit:
        raise RefusedError(
            f"refused: the int8 file is as far from the trained network as if it had lost {apart:.2f} dB (at most "
            f"{limit:g} dB are allowed): it came from another model"
        )
    return CheckReport(
        path, session.spec, tuple(parity), patches.source, len(patches.clean),
        mean_psnr(patches.degraded, patches.clean), trained, reached,
    )  # fmt: skip
