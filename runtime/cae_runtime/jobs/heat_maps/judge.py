"""Judges pictures: scores them, and writes their maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.errors import ImageError, UsageError
from cae_runtime.inference.tiling import Floats
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, PGM, SUFFIX_OF_FORMAT
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.heat_maps.names import maps_beside, mask_of, raw_map_of
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.heat_maps.threshold import Looks, PictureNotes, looks_of
from cae_runtime.jobs.opened_images import Opened, tried
from cae_runtime.jobs.paths import identity_of
from cae_runtime.jobs.restore.masks import marks_in
from cae_runtime.places.address import local_path
from cae_runtime.tasks.anomaly.detector import Detection, Detector

_HALF: Final = 127  # of 255: what is marked more than this belongs to a region
_WHITE: Final = 255


@dataclass(frozen=True)
class Judge:
    """Scores pictures, and writes their maps.

    Attributes:
        detector: the model.
        threshold: a picture with a higher score is an anomaly.
        region: the pixels that count, bool (H, W); None: all.
        raw_maps: whether the scores of the pixels are written too, float32.
        defect_masks: whether a mask of the unusual pixels is written too.
    """

    detector: Detector
    threshold: float
    region: NDArray[np.bool_] | None = None
    raw_maps: bool = False
    defect_masks: bool = False

    def find(self, pixels: NDArray[Any], progress: Progress | None = None) -> Detection:
        """Score a picture; `progress` as of `Detector`.

        Raises:
            ImageError: the region has another size than the picture.
            ProviderError: the provider failed.
        """
        if self.region is not None and self.region.shape != pixels.shape[:2]:
            (height, width), (rows, columns) = pixels.shape[:2], self.region.shape
            raise ImageError(f"has {width}x{height} pixels, and the mask of the region {columns}x{rows}")
        return self.detector(pixels, region=self.region, progress=progress)

    def drawn(self, pixels: NDArray[Any], heat: Floats, ending: str = ".png") -> bytes:
        """Return the heat map as a file of the format that `ending` names."""
        return _encoded(ending, self.detector.overlay(pixels, heat))

    def write(self, output: Path, pixels: NDArray[Any], progress: Progress | None = None) -> Detection:
        """Score a picture, and write its heat map to `output` and the other maps beside it; see `find`.

        Raises:
            ImageError, ProviderError: as `find`; or a map cannot be written.
        """
        found = self.find(pixels, progress)
        write_file(output, self.drawn(pixels, found.heat, output.suffix))
        if self.raw_maps:
            write_file(raw_map_of(output), _encoded(".tiff", found.heat))
        if self.defect_masks:
            unusual = found.heat > (self.detector.session.spec.threshold_pixel or 1.0)
            write_file(mask_of(output), _encoded(".png", unusual.astype(np.uint8) * np.uint8(_WHITE)))
        return found

    def outputs(self, heat_map: Path) -> list[Path]:
        """Return the files that `write` makes."""
        return [heat_map, *self.beside(heat_map).values()]

    def beside(self, heat_map: Path) -> dict[str, Path]:
        """Return those of `outputs` beside the heat map, by the field of `Verdict` that has it."""
        wanted = {"raw_map": self.raw_maps, "mask": self.defect_masks}
        return {kind: path for kind, path in maps_beside(heat_map).items() if wanted[kind]}


@dataclass(frozen=True)
class Judged:
    """A picture that was scored, or failed.

    Attributes:
        output: its heat map, also where there is none.
        verdict: the verdict.
        looks: how it differs from good pictures; None if it could not be read.
        provider: full name of the onnxruntime provider.
        node: the node of a cluster that scored it; empty for this machine.
    """

    output: str
    verdict: Verdict
    looks: Looks | None = None
    provider: str = ""
    node: str = ""


def judged(judge: Judge, picture: Opened) -> Judged:
    """Score a picture of a folder and write its maps; of one that fails, remove those of an earlier call."""
    source, reason = str(picture.job.source), picture.reason
    output = local_path(picture.job.output, "output")
    session, looks, note = judge.detector.session, None, ""
    if picture.pixels is not None:
        looks = looks_of(picture.pixels, session.spec)
        note = PictureNotes(session.spec).of_picture(looks)
        found, reason = tried(partial(judge.write, output, picture.pixels, picture.progress))
        if found is not None:
            maps = {kind: str(path) for kind, path in judge.beside(output).items()}
            verdict = Verdict(
                source, "done", "", str(output), **maps, score=found.score, anomaly=found.score > judge.threshold,
                note=note,
            )  # fmt: skip
            return Judged(str(output), verdict, looks, session.provider)
    for path in judge.outputs(output):
        path.unlink(missing_ok=True)
    return Judged(str(output), Verdict(source, "failed", reason, note=note), looks)


def written_endings() -> list[str]:
    """Return the suffixes of files that a heat map can be written to: those of color that OpenCV writes."""
    return [
        ending for ending, format in FORMAT_OF_SUFFIX.items()
        if format != PGM and cv2.haveImageWriter(f"heat{_ending_of_opencv(ending)}")
    ]  # fmt: skip


def refuse_region(region: Path | None, outputs: Iterable[Path]) -> None:
    """Refuse outputs that would take the place of the mask of the region.

    Raises:
        UsageError: there is such an output.
    """
    identity = None if region is None else identity_of(region)
    for path in outputs if identity is not None else ():
        if identity_of(path) == identity:
            raise UsageError(f"output {str(path)!r} would overwrite the mask of the region: choose another output")


def read_region(path: Path | None) -> NDArray[np.bool_] | None:
    """Read the mask of a region, as `marks_in` does, as bool (H, W): true where more than half is marked.

    Raises:
        UsageError: it cannot be read, has several frames or pages or floating-point values, or marks nothing.
    """
    if path is None:
        return None
    try:
        marks = marks_in(path)
    except ImageError as e:
        raise UsageError(f"region {str(path)!r} {e}") from e
    region = np.asarray(marks > _HALF, np.bool_)
    if not region.any():
        raise UsageError(f"region {str(path)!r} marks nothing: it has no white pixels")
    return region


def _encoded(ending: str, image: NDArray[Any]) -> bytes:
    try:
        done, data = cv2.imencode(_ending_of_opencv(ending), image)
    except cv2.error as e:
        raise ImageError(f"has a map that cannot be written as a {ending} file: {e.err}") from e
    if not done:
        raise ImageError(f"has a map that cannot be written as a {ending} file")
    return data.tobytes()


def _ending_of_opencv(ending: str) -> str:
    """Return the usual suffix of a format: .jpg for .jfif."""
    return SUFFIX_OF_FORMAT[FORMAT_OF_SUFFIX[ending.lower()]]
