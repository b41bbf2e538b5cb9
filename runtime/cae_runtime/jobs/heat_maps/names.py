"""Names of heat maps: `part_heat.png` of `part.jpg`, with the ending only where two pictures would share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.jobs.opened_images import images_of
from cae_runtime.jobs.paths import spelling_of
from cae_runtime.jobs.planning import Plan
from cae_runtime.places.address import Place, place_of

ENDING: Final = "_heat.png"
RAW_ENDING: Final = "_scores.tiff"
MASK_ENDING: Final = "_mask.png"
SHEET: Final = "sheet.png"
OF_BAD: Final = "bad"  # folder of the heat maps of pictures that are known to be bad


def plan_of(sources: Sequence[Place], output: Path, made: Collection[str]) -> Plan:
    """Find the pictures and name their heat maps.

    Args:
        sources: images and folders.
        output: the folder of the heat maps.
        made: `results_of` earlier calls, which are not sources unless they are named.

    Raises:
        UsageError: see `images_of`.
    """
    plan = images_of(sources, output, name_of=lambda source: source.name + ENDING)
    named = {spelling_of(source) for source in sources}
    kept = [job for job in plan.jobs if spelling_of(job.source) in named or spelling_of(job.source) not in made]
    short = Counter(spelling_of(job.output.with_name(job.source.stem + ENDING)) for job in kept)
    jobs = []
    for job in kept:
        name = job.output.with_name(job.source.stem + ENDING)
        jobs.append(replace(job, output=name) if short[spelling_of(name)] == 1 else job)
    return replace(plan, jobs=tuple(jobs))


def with_bad(plan: Plan, bad: Plan, folder: Path) -> Plan:
    """Return a plan with the bad pictures; those it has already, such as of a folder inside a source, count as bad.

    Raises:
        UsageError: all pictures are bad.
    """
    known_bad = {spelling_of(job.source) for job in bad.jobs} | {spelling_of(at.path) for at in bad.unreadable}
    jobs = tuple(job for job in plan.jobs if spelling_of(job.source) not in known_bad)
    unreadable = tuple(at for at in plan.unreadable if spelling_of(at.path) not in known_bad)
    if not jobs and not unreadable:
        raise UsageError(f"bad {str(folder)!r} has all the pictures: name a folder that has only the bad ones")
    return replace(
        plan, jobs=jobs + bad.jobs, left_out=plan.left_out + bad.left_out, unreadable=unreadable + bad.unreadable
    )


def results_of(rows: Iterable[tuple[str, Iterable[str]]], output: Path) -> set[str]:
    """Return the names of the results that a table lists, without those that were sources themselves.

    Args:
        rows: the picture of each row, and what was made of it, relative to `output`.
        output: the folder of the table.
    """
    sources, made = set(), {spelling_of(output / SHEET)}
    for source, results in rows:
        sources.add(spelling_of(place_of(source)))
        made |= {spelling_of(output / result) for result in results}
    return made - sources


def key_of(source: Place) -> tuple[str, str]:
    """Return what two names of one picture share; a link is not its target."""
    return spelling_of(source.parent), source.name


def raw_map_of(heat_map: Path) -> Path:
    """Return the name of a picture's raw map, by that of its heat map."""
    return heat_map.with_name(_stem(heat_map) + RAW_ENDING)


def mask_of(heat_map: Path) -> Path:
    """Return the name of a picture's mask of defects, by that of its heat map."""
    return heat_map.with_name(_stem(heat_map) + MASK_ENDING)


def maps_beside(heat_map: Path) -> dict[str, Path]:
    """Return the names of what may lie beside a heat map, by the field of `Verdict` that has it."""
    return {"raw_map": raw_map_of(heat_map), "mask": mask_of(heat_map)}


def _stem(heat_map: Path) -> str:
    return heat_map.name.removesuffix(ENDING) if heat_map.name.endswith(ENDING) else heat_map.stem
