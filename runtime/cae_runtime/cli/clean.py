"""`cae-run SOURCE... -o OUT`: files and folders, pipes, and models of other tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cae_runtime.cli.models import open_session
from cae_runtime.cli.option_checks import check_restoring, check_task, refuse_in_pipe
from cae_runtime.cli.options import LOCAL, Options
from cae_runtime.cli.source_names import checked_output, expanded
from cae_runtime.cli.terminal import OPTIONS, print_json, tell
from cae_runtime.errors import UsageError
from cae_runtime.io.formats import PIPE
from cae_runtime.places.address import Place, local_path, place_of
from cae_shared.signals import interruptible
from cae_shared.text import printable, with_options

if TYPE_CHECKING:
    from cae_runtime.inference.session import Session
    from cae_runtime.jobs.restore.engine import Engine

_EXIT_FAILED, _EXIT_ANOMALY = 1, 4
_PIPE = Path(PIPE)


def clean(options: Options) -> None:
    """Run the model's task on the given files.

    Raises:
        CaeRuntimeError: it cannot be done.
        KeyboardInterrupt: Ctrl-C was pressed; the finished part is reported.
        typer.Exit: some file failed.
    """
    sources, output = _named(options)
    if _PIPE in sources or output == PIPE:
        from cae_runtime.jobs.restore.pipe import restore_pipe

        detector = _detector(options)
        refuse_in_pipe(options.given, len(sources), detector=detector is not None)
        if detector is not None:
            _other_task(detector, sources, output, options)
            return
        restore_pipe(lambda: open_session(options, options.model_name), sources[0], output, options.for_restoring())
        return
    if options.fills and options.model is None:
        tell(f"model: {options.model_name}, the packaged one that fills holes; -m names another")
    session = open_session(options, options.model_name)
    if session.spec.restores:
        failed = _restore(session, sources, output, options)
    else:
        failed = _other_task(session, sources, output, options)
    if failed:
        raise typer.Exit(_EXIT_FAILED)


def analyze(options: Options) -> None:
    """Print the noise of the given images before and after cleaning.

    Raises:
        CaeRuntimeError: it cannot be done.
        typer.Exit: some image failed.
    """
    sources = expanded(options.sources or [])
    if _PIPE in sources:
        raise UsageError("--analyze takes files and folders, and no -")
    if not sources:
        raise UsageError("--analyze needs images or folders: name them before it")
    from cae_runtime.jobs.previews.analyze import analyze as measured

    document, lines, failed = measured(open_session(options, options.model_name), sources, options.for_restoring())
    if options.as_json:
        print_json(json.dumps(document, indent=2))
    else:
        typer.echo("\n".join(map(printable, lines)))
    if failed:
        raise typer.Exit(_EXIT_FAILED)


def _detector(options: Options) -> Session | None:
    """Open the model if it is a file that finds anomalies; None for others."""
    if options.model is None or not options.model.lower().endswith(".onnx"):
        return None
    session = open_session(options, options.model_name)
    return session if session.spec.task == "anomaly" else None


def _named(options: Options) -> tuple[list[Place], str]:
    """Return the sources, with patterns expanded, and the output.

    Raises:
        UsageError: one of them is missing.
    """
    if not options.sources and not options.given & {"generate", "latent", "between"}:
        raise UsageError(
            "SOURCE is missing: pass images, videos or folders, or --webcam; with a decoder, pass --generate N, "
            "--latent FILE or --between FILE FILE (see --help)"
        )
    for picture in options.between or ():
        if str(picture).startswith("-"):
            raise UsageError(f"--between needs two pictures, and {str(picture)!r} is an option: name both before it")
    if options.output is None:
        raise UsageError("the output is missing: pass -o OUT, a folder or a file")
    given = {
        "SOURCE": "" if "" in (options.sources or []) else None,
        "-o": options.output,
        "-m": options.model,
        "--mask": options.mask,
    }
    for name, value in given.items():
        if value == "":
            what = "a model" if name == "-m" else "a file or a folder (. is the current one)"
            raise UsageError(f"{name} is empty: name {what}")
    return expanded(options.sources or []), checked_output(options.output)


def _restore(session: Session, sources: Sequence[Place], output: str, options: Options) -> bool:
    """Restore files; return whether some failed."""
    check_restoring(options.given, session.path, place_of(output, "output"))
    from cae_runtime.jobs.restore.report import json_report
    from cae_runtime.jobs.restore.restore_files import restore_files

    if options.watch:
        from cae_runtime.jobs.restore.watch import watch

        folders = [local_path(source, "source") for source in sources]
        out = local_path(place_of(output), "output")
        restored = watch(session, folders, out, options.for_restoring())
    else:
        restored = restore_files(session, sources, output, options.for_restoring(), _engine(options))
    if options.as_json:
        results = (replace(each, reason=with_options(each.reason, OPTIONS)) for each in restored.results)
        print_json(json_report(replace(restored, results=tuple(results)), options.for_restoring().strength))
    if restored.interrupted:
        raise KeyboardInterrupt
    return restored.failed


def _engine(options: Options) -> Engine | None:
    """Return the engine that cleans in place of this process; None if this process cleans."""
    if options.engine == LOCAL:
        return None
    from cae_runtime.jobs.cluster.engine import RayCluster

    return RayCluster(options.model_name, options.address, options.provider, options.threads, options.gpus_per_worker)


def _other_task(session: Session, sources: Sequence[Place], output: str, options: Options) -> bool:
    """Run a model of another task; return whether some file failed.

    Raises:
        typer.Exit: there is an anomaly, which `--fail-on-anomaly` asks for.
    """
    from cae_runtime.inference.cpu_speed import fp16_note
    from cae_runtime.jobs import other_tasks

    if slow := fp16_note(session.spec.precision, session.provider):
        tell(slow)
    check_task(options.given, session.spec.task, session.path)
    request = other_tasks.Request(
        tuple(sources), place_of(output, "output"), overwrite=options.overwrite, batch=options.batch,
        overlap=options.overlap,
        per_patch=options.per_patch, projection=options.projection, count=options.generate, latent=options.latent,
        seed=options.seed, between=options.between, steps=options.steps, encoder=options.encoder,
        false_alarms=options.false_alarms, threshold=options.threshold, bad=options.bad, region=options.roi,
        raw_maps=options.raw_maps, defect_masks=options.defect_masks,
    )  # fmt: skip
    with interruptible():
        outcome = other_tasks.run(session, request, _engine(options))
    if options.as_json:
        print_json(json.dumps(outcome.document, indent=2))
    if options.fail_on_anomaly and outcome.anomalies and not outcome.failed:
        raise typer.Exit(_EXIT_ANOMALY)
    return outcome.failed
