"""Writes the pictures of a decoder as files, with a contact sheet."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_whole
from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.io.contact_sheet import Cell, contact_sheet, thumbnail, to_bgr
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.features.codes import COUNT_MAX, STEPS, code_of, encoder_beside, open_encoder, read_codes, way
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import check_folder, outputs_missing, prepare_output
from cae_runtime.jobs.progress import Progress
from cae_runtime.tasks.generate import Generator
from cae_shared.text import counted

_log = logging.getLogger(__name__)

NUMBERS_MAX: Final = 2**28  # in all codes of a call
_SHEET_PICTURES, _SHEET_COLUMNS = 100, 10
_FAR: Final = 0.9  # the code of a decoded picture is nearer to the first code, as a share of that, if both models fit
_ROUNDING: Final = 2  # levels that pictures of one code differ by on different machines


@dataclass(frozen=True)
class _Wanted:
    """The pictures to make.

    Attributes:
        codes: (N, *code_shape) float32.
        name: what their files' names begin with.
        seed: of codes that are drawn, or None.
        ends: the two pictures that they lie between, or none.
    """

    codes: Floats
    name: str
    seed: int | None = None
    ends: tuple[tuple[Path, NDArray[Any]], ...] = ()


def run(session: Session, request: Request) -> Outcome:
    """Write the pictures to the folder `request.output`, and a contact sheet.

    Their names say where the codes come from: `seed-7-0001.png` and `seed-7-sheet.png` for codes that are drawn,
    `codes-0001.png` for those of the file `codes.npy`, `a-to-b-0001.png` for the transition from `a.png` to `b.png`.

    Raises:
        UsageError: not exactly one of a number of pictures, codes and two pictures is given; the codes cannot be read;
            an output cannot be written; or pictures of these names exist that this model does not make of these codes.
        ModelError, ProviderError, ImageError: see `Generator`.
    """
    given = [what for what in (request.count, request.latent, request.between) if what is not None]
    if len(given) != 1:
        raise UsageError(
            "choose one of these: the number of new pictures (count=N), their codes (latent='FILE'), or two pictures "
            "to make a transition between"
        )
    if request.seed is not None and request.count is None:
        raise UsageError("seed is for random codes, but the codes are given: leave it out")
    if request.between is None and (request.steps is not None or request.encoder is not None):
        name = "steps" if request.steps is not None else "encoder"
        raise UsageError(f"{name} is for the transition between two pictures, but none are given: leave it out")
    check_folder(request.folder)
    generator = Generator(session, batch=request.batch)
    wanted = _wanted(generator, request)
    count = len(wanted.codes)
    width = max(4, len(str(count)))
    files = [request.folder / f"{wanted.name}-{number:0{width}}.png" for number in range(1, count + 1)]
    sheet = request.folder / f"{wanted.name}-sheet.png"
    if not request.overwrite and not outputs_missing([*files, sheet]):
        _check_same(generator, wanted.codes, files)
        _log.info("skipped: %r and its pictures exist (overwrite=True replaces them)", str(sheet))
        return Outcome({"output": str(request.output), "skipped": True})
    prepare_output(request.output)
    cells = _write(generator, wanted, files)
    write_file(sheet, cv2.imencode(".png", contact_sheet(cells, _SHEET_COLUMNS))[1].tobytes())
    drawn = f", seed {wanted.seed}" if wanted.seed is not None else ""
    _log.info("%s pictures%s, %s -> %s/", count, drawn, session.provider, request.output)
    names = {path.name for path in files}
    found = (path.name for path in request.folder.glob("*.png") if not path.name.endswith("-sheet.png"))
    others = sum(name not in names for name in found)
    if others:
        which = "which is" if others == 1 else "which are"
        _log.info("note: that folder holds %s too, %s not of this call", counted(others, "other picture"), which)
    return Outcome(
        {
            "output": str(request.output),
            "provider": session.provider,
            "seed": wanted.seed,
            "files": [str(path) for path in files],
            "sheet": str(sheet),
        }
    )


def _wanted(generator: Generator, request: Request) -> _Wanted:
    """Make or read the codes."""
    session = generator.session
    most = min(COUNT_MAX, NUMBERS_MAX // math.prod(session.code_shape))
    if request.latent is not None:
        try:
            codes = generator.checked(read_codes(request.latent, session.code_shape))
        except UsageError as e:
            raise UsageError(f"latent {str(request.latent)!r}: {e}") from e
        return _Wanted(codes, request.latent.stem)
    if request.between is not None:
        steps = STEPS if request.steps is None else checked_whole("steps", request.steps, 2, most)
        return _between(generator, request.between, steps, request.encoder or encoder_beside(session))
    count = request.count or 0
    if count > most:
        raise UsageError(f"count is {count}: it must be 1..{most} with this model")
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if request.seed is None else request.seed
    return _Wanted(generator.draw(count, seed), f"seed-{seed}", seed)


def _between(generator: Generator, pictures: tuple[Path, Path], steps: int, encoder: Path) -> _Wanted:
    opened = open_encoder(encoder, generator.session)
    with contextlib.closing(opened.session):
        found = [code_of(opened, path) for path in pictures]
        ends = np.concatenate([code for code, _ in found])
        again = np.concatenate([opened.patches(picture)[1].reshape(1, *ends.shape[1:]) for picture in generator(ends)])
    if np.linalg.norm(again - ends) > _FAR * np.linalg.norm(ends):
        _log.info(
            "note: the decoder does not reproduce these pictures: is %r the encoder of the same model?", str(encoder)
        )
    _log.info("codes of %s and %s from %s", *(repr(str(path)) for path in pictures), repr(str(encoder)))
    codes = way(ends[:1], ends[1:], steps)
    name = "-to-".join(path.stem for path in pictures)
    return _Wanted(codes, name, ends=tuple(zip(pictures, (pixels for _, pixels in found), strict=True)))


def _write(generator: Generator, wanted: _Wanted, files: Sequence[Path]) -> list[Cell]:
    """Write the pictures; return the cells of their sheet; a transition has its two pictures at the ends."""
    cells: list[Cell] = []
    with Progress(len(files), "generating") as progress:
        for number, (path, picture) in enumerate(zip(files, generator(wanted.codes), strict=True)):
            write_file(path, cv2.imencode(".png", picture)[1].tobytes())
            if len(cells) < _SHEET_PICTURES:
                cells.append(Cell(thumbnail(picture), f"{number / (len(files) - 1):.0%}" if wanted.ends else ""))
            progress.on_file()
    if wanted.ends:
        first, last = (Cell(thumbnail(to_bgr(pixels)), path.name) for path, pixels in wanted.ends)
        cells = [first, *cells, last]
    return cells


def _check_same(generator: Generator, codes: Floats, files: Sequence[Path]) -> None:
    """Refuse pictures that exist and are not those of these codes: all are made anew and compared.

    Raises:
        UsageError: one differs.
    """
    with Progress(len(files), "comparing") as progress:
        for path, made in zip(files, generator(codes), strict=True):
            found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if found is None or found.shape != made.shape or np.abs(found.astype(int) - made).max() > _ROUNDING:
                raise UsageError(
                    f"output {str(path)!r} exists, and is not what model {generator.session.name!r} makes of these "
                    "codes: overwrite=True replaces all of them, or name another folder"
                )
            progress.on_file()
