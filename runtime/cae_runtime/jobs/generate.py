"""Writes the pictures of a decoder as files, with a contact sheet."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.io.contact_sheet import Cell, contact_sheet, thumbnail
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import check_folder, outputs_missing, prepare_output
from cae_runtime.jobs.progress import Progress
from cae_runtime.tasks.generate import Generator

_log = logging.getLogger(__name__)

COUNT_MAX: Final = 100_000
NUMBERS_MAX: Final = 2**28  # in all codes of a call
LATENT_BYTES_MAX: Final = 2**30
SHEET: Final = "sheet.png"
_SHEET_PICTURES, _SHEET_COLUMNS = 100, 10


def run(session: Session, request: Request) -> Outcome:
    """Write the pictures to the folder `request.output`, `sample-0001.png` and so on, and a contact sheet.

    Raises:
        UsageError: there is neither a number of pictures nor codes, or both; the codes cannot be read; or an output
            cannot be written.
        ModelError, ProviderError, ImageError: as `Generator` raises them.
    """
    if (request.count is None) == (request.latent is None):
        raise UsageError("name either how many pictures to make, count=N, or their codes, latent='FILE.npy'")
    if request.latent is not None and request.seed is not None:
        raise UsageError("seed is for codes that are drawn, and these are given: leave it out")
    check_folder(request.output)
    generator = Generator(session, batch=request.batch)
    if (request.count or 0) > COUNT_MAX or (request.count or 0) * math.prod(session.code_shape) > NUMBERS_MAX:
        most = min(COUNT_MAX, NUMBERS_MAX // math.prod(session.code_shape))
        raise UsageError(f"count is {request.count}: it must be 1..{most} with this model")
    seed = request.seed
    if request.latent is not None:
        try:
            codes = generator.checked(read_codes(request.latent))
        except UsageError as e:
            raise UsageError(f"latent {str(request.latent)!r}: {e}") from e
    else:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        codes = generator.draw(request.count or 0, seed)
    width = max(4, len(str(len(codes))))
    files = [request.output / f"sample-{number:0{width}}.png" for number in range(1, len(codes) + 1)]
    sheet = request.output / SHEET
    if not request.overwrite and not outputs_missing([*files, sheet]):
        _log.info("skipped: %r and its samples exist (overwrite=True replaces them)", str(sheet))
        return Outcome({"output": str(request.output), "skipped": True})
    prepare_output(request.output)
    cells: list[Cell] = []
    with Progress(len(codes), "generating") as progress:
        for path, picture in zip(files, generator(codes), strict=True):
            write_file(path, cv2.imencode(".png", picture)[1].tobytes())
            if len(cells) < _SHEET_PICTURES:
                cells.append(Cell(thumbnail(picture)))
            progress.on_file()
    write_file(sheet, cv2.imencode(".png", contact_sheet(cells, _SHEET_COLUMNS))[1].tobytes())
    drawn = f", seed {seed}" if request.latent is None else ""
    _log.info("%s pictures%s, %s -> %s/", len(files), drawn, session.provider, request.output)
    names = {path.name for path in files}
    older = sum(path.name not in names for path in request.output.glob("sample-*.png"))
    if older:
        _log.info("note: %s older samples of another number are still there", older)
    return Outcome(
        {
            "output": str(request.output),
            "provider": session.provider,
            "seed": seed,
            "files": [str(path) for path in files],
            "sheet": str(sheet),
        }
    )


def read_codes(path: Path) -> NDArray[Any]:
    """Return the codes of a `.npy` file.

    Raises:
        UsageError: it cannot be read, is no such file, holds no numbers or none at all, or is larger than 1 GiB.
    """
    try:
        if path.stat().st_size > LATENT_BYTES_MAX:
            raise UsageError(f"it is larger than {LATENT_BYTES_MAX} bytes, the limit")
        with path.open("rb") as file:
            codes = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as e:
        raise UsageError(f"it cannot be read: {e.strerror or e}") from e
    except UsageError:
        raise
    except Exception as e:  # NumPy's reader may raise anything on a damaged header
        raise UsageError("it is not a .npy file of numbers") from e
    if codes.dtype.kind not in "fiu" or codes.ndim < 2 or not len(codes):
        raise UsageError(
            f"it holds {codes.dtype} of shape {codes.shape}: codes are real numbers, (N, ...) with N from 1 on"
        )
    if len(codes) > COUNT_MAX:
        raise UsageError(f"it has {len(codes)} codes: the limit is {COUNT_MAX}")
    return codes
