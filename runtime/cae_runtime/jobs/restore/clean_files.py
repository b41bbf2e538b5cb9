"""`clean_image` and `clean_folder`: clean an image file or a folder, for Python programs."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cae_runtime.arguments import Progress, check_function, checked_flag, checked_place, checked_whole
from cae_runtime.errors import ArgumentTypeError, ImageError, ImageNotFoundError, UsageError
from cae_runtime.inference.model_files import DEFAULT_MODEL
from cae_runtime.inference.session import Session
from cae_runtime.io.encoding import is_lossy
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, known_suffix
from cae_runtime.io.image_files import read_file, write_file
from cae_runtime.jobs.existing_outputs import with_existing
from cae_runtime.jobs.paths import identity_of, path_kind, prepare_output
from cae_runtime.jobs.pictures import notes_on_name
from cae_runtime.jobs.planning import Plan, make_plan
from cae_runtime.jobs.restore.engine import Engine
from cae_runtime.jobs.restore.extras import check_extras
from cae_runtime.jobs.restore.images import clean_bytes
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.restore_files import clean_each, in_order
from cae_runtime.jobs.restore.results import FileResult, unreadable_results
from cae_runtime.places.address import Address
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strength_blending import Strength, checked_strengths

Model = Restorer | Session | str | os.PathLike[str] | bytes | None

_FOLDER: Final = "the path or address of a folder"


def clean_image(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    restorer: Model = None,
    *,
    strength: Strength = 1.0,
    quality: int | None = None,
    progress: Progress | None = None,
) -> FileResult:
    """Clean an image file, as `cae-run` does: bit depth, alpha and metadata are kept.

    The output appears complete or not at all.

    Args:
        source: JPEG, PNG, WebP, AVIF, HEIC (needs the extra `heif`), TIFF, JPEG 2000, BMP, PPM, PGM, PBM, GIF, or a
            camera raw file (needs the extra `raw`). CMYK needs the extra `cmyk`. A file, or an address such as
            `s3://bucket/photo.jpg` (needs the extra `cloud`).
        output: the file or address to write, replaced if it exists; its suffix chooses the format.
        restorer: a `Restorer`, a packaged model's name, a model file or its bytes, or a `Session`; None is `denoise`.
        strength: s in 0..1; the result is input + s * (cleaned - input). Or two, see `Restorer`.
        quality: of JPEG, WebP, AVIF and HEIC, 1..100; None takes 95 (HEIC: 80), or a JPEG's own if it is higher, and
            keeps a lossless WebP lossless.
        progress: called with how many parts of the image are cleaned and how many there are. An exception that it
            raises stops the work and comes out of this call; nothing is written then.

    Returns:
        What was written, and what could not be kept.

    Raises:
        ImageError: the source cannot be read or cleaned (also a FileNotFoundError if it does not exist), or the output
            cannot hold it or be written.
        UsageError: an argument is not as listed above (where its type is another, a TypeError too), or the output is
            the source.
        ModelError, ProviderError: see `Restorer`.
    """
    place, target = checked_place("source", source), checked_place("output", output)
    options = RestoreOptions(strength=checked_strengths(strength), quality=_checked_quality(quality))
    check_function("progress", progress)
    format = FORMAT_OF_SUFFIX.get(target.suffix.lower())
    if format is None:
        raise UsageError(f"output {str(target)!r}: an image's name must end in one of {', '.join(FORMAT_OF_SUFFIX)}")
    if path_kind(place, "source") == "missing":
        raise ImageNotFoundError(f"image {str(place)!r} does not exist")
    if isinstance(target, Address):
        path_kind(target, "output")  # refuses one of the web, and a bucket that does not exist
    if identity_of(place) == identity_of(target):
        raise UsageError(f"output {str(target)!r} is the source: choose another name")
    start = time.perf_counter()
    with _opened(restorer) as opened:
        try:
            cleaned = clean_bytes(opened, read_file(place), options, format=format, progress=progress)
            write_file(target, cleaned.data)
        except ImageError as e:  # the text continues after the name
            e.args = (f"image {str(place)!r} {e}",)
            raise
        return FileResult(
            str(place), str(target), "done", "", time.perf_counter() - start, cleaned.width, cleaned.height,
            opened.provider, cleaned.dropped, lossy=is_lossy(cleaned.data), pixels=cleaned.pixels,
            notes=(*notes_on_name(place, target, cleaned.format), *cleaned.notes),
        )  # fmt: skip


def clean_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    restorer: Model | Engine = None,
    *,
    strength: Strength = 1.0,
    temporal: bool = True,
    suffix: str = "",
    ext: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
    on_result: Callable[[FileResult], None] | None = None,
) -> list[FileResult]:
    """Clean the images and videos of a folder and its subfolders, as `cae-run` does.

    A file that cannot be cleaned does not stop the others. Outputs appear complete or not at all.

    Args:
        source: the folder, or an address such as `s3://bucket/photos` (needs the extra `cloud`).
        output: the folder or address to mirror it into, made if it does not exist.
        restorer: a `Restorer`, a packaged model's name, a model file or its bytes, or a `Session`; None is `denoise`;
            or a `RayCluster`, whose workers clean.
        strength: s in 0..1; the result is input + s * (cleaned - input). Or two, see `Restorer`.
        temporal: whether static regions of videos are averaged over time before cleaning.
        suffix: appended to each file name: `_clean` makes `photo_clean.jpg`.
        ext: format of the images or of the videos, such as `png` or `mkv`; None keeps that of each source.
        quality: of JPEG, WebP, AVIF and HEIC, see `clean_image`.
        overwrite: replace outputs that exist, instead of skipping them.
        on_result: called with each result, in order; of a cluster, as it is ready. An exception from it stops the work
            and is raised by this call.

    Returns:
        One result per image or video, after those of files that could not be read. Check `status` and `reason`.

    Raises:
        UsageError: an argument is not as listed above (where its type is another, a TypeError too); the folder does not
            exist, cannot be read, or holds no images or videos; an output would overwrite a source or another output;
            or there are only videos, and PyAV is not installed, or only HEIC files, and pillow-heif is not.
        ModelError, ProviderError: see `Restorer`.
        ClusterError: the cluster cannot be reached, or cannot do the work.
    """
    place, target = checked_place("source", source, _FOLDER), checked_place("output", output, _FOLDER)
    if path_kind(place, "source") != "folder":
        raise UsageError(f"source {str(place)!r} is not an existing folder")
    if not isinstance(suffix, str) or Path(suffix).name != suffix:
        raise UsageError(f"suffix is {suffix!r}: it must be part of a file's name, such as '_clean'")
    options = RestoreOptions(
        strength=checked_strengths(strength), temporal=checked_flag("temporal", temporal),
        quality=_checked_quality(quality), overwrite=checked_flag("overwrite", overwrite),
    )  # fmt: skip
    ext = None if ext is None else known_suffix("ext", ext)
    check_function("on_result", on_result)
    plan = make_plan([place], target, suffix=suffix, ext=ext, out_is_folder=True)
    check_extras(plan.jobs, [place], options.coding)
    plan = with_existing(plan, options.overwrite)
    prepare_output(plan.folder, (job.output for job in plan.jobs))
    return _clean_plan(plan, restorer, options, on_result)


def _clean_plan(
    plan: Plan, restorer: Model | Engine, options: RestoreOptions, on_result: Callable[[FileResult], None] | None
) -> list[FileResult]:
    """Clean the files of a plan in this process or by an engine; return the results in order."""
    with _opened(restorer) as opened:
        if isinstance(restorer, Engine):
            cleaned = restorer.clean(plan, opened, options, lambda _: None)
        else:
            cleaned = clean_each(plan.jobs, opened, options)
        results = []
        with contextlib.closing(cleaned):
            for result in itertools.chain(unreadable_results(opened, plan.unreadable), cleaned):
                results.append(result)
                if on_result is not None:
                    on_result(result)
    return in_order(results, plan)


def _checked_quality(quality: int | None) -> int | None:
    return None if quality is None else checked_whole("quality", quality, 1, 100, "None for the usual one")


@contextlib.contextmanager
def _opened(restorer: Model | Engine) -> Iterator[Restorer]:
    """Yield the restorer for BGR arrays; one that is opened here is closed at the end.

    Raises:
        ArgumentTypeError: it is neither a restorer nor a model.
    """
    if isinstance(restorer, Engine):
        with restorer.opened() as opened:
            yield opened
        return
    if isinstance(restorer, Restorer):
        yield restorer.for_color("bgr")
        return
    if restorer is not None and not isinstance(restorer, str | os.PathLike | bytes | Session):
        raise ArgumentTypeError(f"restorer is {restorer!r}: it must be a Restorer, a model, or None")
    with Restorer(DEFAULT_MODEL if restorer is None else restorer) as opened:
        yield opened
