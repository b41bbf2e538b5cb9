"""What becomes of one picture of a folder: its maps are written, and its verdict is returned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from cae_runtime.jobs.heat_maps.judge import Judge
from cae_runtime.jobs.heat_maps.limits import Looks, looks_of
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.opened_images import Opened, tried
from cae_runtime.places.address import local_path


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
    """Score a picture and write its maps; of one that fails, remove those of an earlier call."""
    source, reason = str(picture.job.source), picture.reason
    output = local_path(picture.job.output, "output")
    session, looks = judge.detector.session, None
    if picture.pixels is not None:
        looks = looks_of(picture.pixels, session.spec)
        found, reason = tried(partial(judge.write, output, picture.pixels, picture.progress))
        if found is not None:
            maps = {kind: str(path) for kind, path in judge.beside(output).items()}
            verdict = Verdict(
                source, "done", "", str(output), **maps, score=found.score, anomaly=found.score > judge.threshold
            )
            return Judged(str(output), verdict, looks, session.provider)
    for path in judge.outputs(output):
        path.unlink(missing_ok=True)
    return Judged(str(output), Verdict(source, "failed", reason), looks)
