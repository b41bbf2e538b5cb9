"""The other tasks of models: features, anomalies, generated pictures.

`jobs/encode.py`, `jobs/anomaly.py` and `jobs/generate.py` are named like the `task` of the models that they run.
Each has `run(session, request)`, which does the work and returns what became of it. So are those of `jobs/cluster`,
whose `run(session, request, cluster)` lets workers do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.places.address import Place, local_path

if TYPE_CHECKING:
    from cae_runtime.jobs.restore.engine import Engine

TASKS: Final = ("encode", "anomaly", "generate")
OF_CLUSTERS: Final = ("encode", "anomaly")


@dataclass(frozen=True)
class Request:
    """The options of a task.

    Attributes:
        sources: images and folders; `generate` takes none.
        output: a file or folder, as the task has it.
        overwrite: replace existing files.
        batch: patches per call of the model, or None.
        overlap: pixels shared by neighboring patches, or None.
        per_patch: `encode`: one row per patch.
        projection: `encode`: how a map is made, `pca` or `tsne`; None is `pca`.
        count: `generate`: how many pictures, or None.
        latent: `generate`: a file of codes, or None.
        seed: `generate`: of the codes that are drawn, or None.
        between: `generate`: two pictures, to draw the way from one's code to the other's, or None.
        steps: `generate`: how many pictures to draw `between` two, these included, or None.
        encoder: `generate`: the model that gives the codes of `between`; None is the file beside the decoder.
        false_alarms: `anomaly`: the share of good pictures that may be called anomalies; None is the model's own.
        threshold: `anomaly`: the score above which a picture is one; None is that for `false_alarms`.
        bad: `anomaly`: a folder of pictures that are known to be bad, or None.
        region: `anomaly`: a mask of the pixels that count, white ones, or None.
        raw_maps: `anomaly`: also write the scores of the pixels, as float32 TIFF files.
        defect_masks: `anomaly`: also write masks of the unusual pixels.
    """

    sources: tuple[Place, ...]
    output: Place
    overwrite: bool = False
    batch: int | None = None
    overlap: int | None = None
    per_patch: bool = False
    projection: str | None = None
    count: int | None = None
    latent: Path | None = None
    seed: int | None = None
    between: tuple[Path, Path] | None = None
    steps: int | None = None
    encoder: Path | None = None
    false_alarms: float | None = None
    threshold: float | None = None
    bad: Path | None = None
    region: Path | None = None
    raw_maps: bool = False
    defect_masks: bool = False

    @property
    def folder(self) -> Path:
        """The output of a task that writes many files, which no store takes.

        Raises:
            UsageError: it is an address.
        """
        return local_path(self.output, "output")


@dataclass(frozen=True)
class Outcome:
    """The result of a request.

    Attributes:
        document: what `--json` prints, ready for `json.dumps`.
        failed: whether some file failed.
        anomalies: how many pictures are anomalies.
    """

    document: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    anomalies: int = 0


def run(session: Session, request: Request, cluster: Engine | None = None) -> Outcome:
    """Run a model's task.

    Args:
        session: the model, of a task in `TASKS`.
        request: what to do.
        cluster: a `RayCluster` whose workers do it, for a task in `OF_CLUSTERS`; None: this process does it.

    Raises:
        UsageError: the task is not one of these.
        CaeRuntimeError: as the task's own module says.
    """
    task, tasks = session.spec.task, TASKS if cluster is None else OF_CLUSTERS
    if task not in tasks:
        raise UsageError(f"task is {task!r}: it must be one of {', '.join(tasks)}")
    outcome: Outcome
    if cluster is None:
        outcome = import_module(f"cae_runtime.jobs.{task}").run(session, request)
    else:
        outcome = import_module(f"cae_runtime.jobs.cluster.{task}").run(session, request, cluster)
    return outcome
