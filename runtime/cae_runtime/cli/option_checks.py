"""Which of `cae-run`'s commands the given options select."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Final

from cae_runtime.cli.options import LOCAL, Options
from cae_runtime.errors import UsageError
from cae_runtime.jobs.paths import path_kind
from cae_runtime.places.address import Place
from cae_shared.text import listed

_LIVE_ALONE: Final = {
    "size", "fps", "target_fps", "compare", "reconnect", "virtual_camera", "no_window", "frames", "seconds",
}  # fmt: skip
_OF_ENCODERS: Final = {"per_patch", "projection"}
_OF_DECODERS: Final = {"generate", "seed", "latent", "between", "steps", "encoder"}
_MAPS_BESIDE: Final = {"bad", "raw_maps", "defect_masks"}
_OF_DETECTORS: Final = {"false_alarms", "threshold", "fail_on_anomaly", "roi", *_MAPS_BESIDE}
_NOT_OF_RESTORING: Final = _OF_ENCODERS | _OF_DECODERS | _OF_DETECTORS
_NOT_OF_FILLING: Final = {"strength", "color_strength", "stretch", "temporal", "codec", "crf", "pixel_format"}
_FEATURE_TABLES: Final = frozenset({".npz", ".csv"})
_FILLING: Final = {"mask", "mask_color"}
_OF_MASKS: Final = {"invert_mask": {"mask"}, "grow": _FILLING}
_OF_CLUSTERS: Final = {"address", "gpus_per_worker"}
_NOT_IN_PIPES: Final = {
    "suffix", "as_json", "watch", "engine", *_OF_CLUSTERS, *_NOT_OF_RESTORING, *_FILLING, *_OF_MASKS,
}  # fmt: skip
_OF_MODELS: Final = {"model", "provider", "threads", "batch", "overlap"}
_OF_EVERY_TASK: Final = {"output", "verbose", "overwrite", "as_json", "model", "provider", "threads", "batch"}
_OF_TASK: Final[dict[str, set[str]]] = {
    "encode": {"sources", "overlap", "engine", *_OF_CLUSTERS, *_OF_ENCODERS},
    "anomaly": {"sources", "engine", *_OF_CLUSTERS, *_OF_DETECTORS},
    "generate": _OF_DECODERS,
}
_OF_SHEETS: Final = {"overwrite", "quality", "strength", "color_strength", "stretch", *_OF_MODELS}
_HEEDED: Final[dict[str, set[str]]] = {
    "doctor": {"as_json"},
    "benchmark": {"as_json", *_OF_MODELS},
    "list_cameras": set(),
    "view": {"sources", "output", "suffix", "ext", *_OF_SHEETS},
    "sheet": {"sources", *_OF_SHEETS},
    "page": {"no_window"},
    "analyze": {"sources", "as_json", "strength", "color_strength", "stretch", *_OF_MODELS},
    "webcam": {"as_json", "camera", "output", "overwrite", "strength", "temporal", *_OF_MODELS, *_LIVE_ALONE},
}


def command_meant(options: Options) -> str:
    """Return the command that was selected, and refuse options that it would ignore.

    Args:
        options: the given options.

    Returns:
        `doctor`, `benchmark`, `list-cameras`, `webcam`, `page`, `analyze`, `view`, `sheet` or `clean`.

    Raises:
        UsageError: two commands, or an option that belongs to another command.
    """
    given = options.given
    asked = {
        "doctor": options.doctor,
        "benchmark": options.benchmark,
        "list_cameras": options.list_cameras,
        "analyze": options.analyze,
        "view": options.view,
        "sheet": options.sheet is not None,
        "page": options.page,
        "webcam": options.webcam or "camera" in given,
    }
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"give only one of {listed((f'--{option_name(name)}' for name in chosen), 'and')}")
    if not chosen:
        live = given & _LIVE_ALONE
        if live:
            raise UsageError(
                f"{_options(live)} {_need(live)} a camera: add --webcam for the first one, or --camera NUMBER, FILE or "
                "ADDRESS (--list-cameras lists what is here)"
            )
        if given & _OF_CLUSTERS and options.engine == LOCAL:
            far = given & _OF_CLUSTERS
            raise UsageError(f"{_options(far)} {_need(far)} a cluster: add --engine ray")
        return "clean"
    (command,) = chosen
    given -= {"verbose"}
    if command == "analyze" and "output" in given:
        raise UsageError("--analyze prints figures and writes no pictures: remove -o")
    if command == "sheet" and "output" in given:
        raise UsageError("--sheet draws a sheet and writes no pictures: remove -o")
    if command not in ("webcam", "analyze", "view", "sheet") and given & {"sources", "output"}:
        raise UsageError(f"--{option_name(command)} cleans nothing: remove SOURCE and -o")
    if command == "webcam" and "sources" in given:
        raise UsageError("--webcam and --camera take no SOURCE: --camera takes a camera or a video file")
    ignored = given - _HEEDED[command] - {command}
    if ignored:
        raise UsageError(f"--{option_name(command)} takes no {_options(ignored)}")
    return option_name(command)


def check_restoring(given: frozenset[str], path: Path, output: Place) -> None:
    """Refuse options that do not apply to models of task `restore`.

    Args:
        given: names of the options and arguments that were given.
        path: the model's file.
        output: where the result goes.

    Raises:
        UsageError: there is such an option, or an output that only an encoder writes.
    """
    ignored = given & _NOT_OF_RESTORING
    if ignored:
        needed = "an encoder" if ignored <= _OF_ENCODERS else "a decoder"
        if ignored <= _OF_DETECTORS:
            raise UsageError(
                f"{_options(ignored)} {_need(ignored)} a detector, but model {path.stem!r} cleans pictures: choose one "
                "with -m; cae-export model.pt --anomaly makes one"
            )
        part = needed.split()[1]
        raise UsageError(
            f"{_options(ignored)} {_need(ignored)} {needed}, but model {path.stem!r} cleans pictures: choose one with "
            f"-m; cae-export model.pt --part {part} makes one"
        )
    if output.suffix.lower() in _FEATURE_TABLES and path_kind(output, "output") != "folder":
        raise UsageError(
            f"output {str(output)!r} is a table of features, but model {str(path.stem)!r} cleans pictures: choose an "
            "encoder with -m; cae-export model.pt --part encoder makes one"
        )
    filling = given & _FILLING
    if len(filling) > 1:
        raise UsageError("give --mask or --mask-color, not both")
    for name, wanted in _OF_MASKS.items():
        if name in given and not given & wanted:
            others = listed((f"--{option_name(each)}" for each in sorted(wanted)), "or")
            raise UsageError(f"--{option_name(name)} needs {others}")
    if "engine" in given and "watch" in given:
        raise UsageError("--watch works only on this machine: remove --engine")
    if filling and given & _NOT_OF_FILLING:
        raise UsageError(f"{_options(filling)} fills holes, which takes no {_options(given & _NOT_OF_FILLING)}")


def check_task(given: frozenset[str], task: str, path: Path) -> None:
    """Refuse options that do not apply to models of another task than `restore`.

    Args:
        given: names of the options and arguments that were given.
        task: the task of the model.
        path: the model's file.

    Raises:
        UsageError: it is one of these.
    """
    ignored = sorted(given - _OF_EVERY_TASK - _OF_TASK.get(task, set()))
    if ignored:
        words = ", ".join("SOURCE" if name == "sources" else f"--{option_name(name)}" for name in ignored)
        raise UsageError(f"model {str(path)!r} is made for task {task!r}, which takes no {words}")


def refuse_in_pipe(given: frozenset[str], sources: int, *, detector: bool = False) -> None:
    """Refuse options that cannot be combined with `-`, a single image from stdin or to stdout.

    Args:
        given: names of the options and arguments that were given.
        sources: how many there are.
        detector: whether the model finds anomalies.

    Raises:
        UsageError: `given` has such an option, or there is not exactly one source.
    """
    if sources != 1:
        raise UsageError("- must be the only SOURCE")
    if ignored := given & (_NOT_IN_PIPES - (_OF_DETECTORS - _MAPS_BESIDE) if detector else _NOT_IN_PIPES):
        raise UsageError(f"- cannot be combined with {_options(ignored)}")


def _need(names: Sized) -> str:
    return "needs" if len(names) == 1 else "need"


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"--{option_name(name)}" for name in sorted(names))


def option_name(name: str) -> str:
    """Return the command-line name of an option, without its dashes."""
    return {"as_json": "json"}.get(name, name).replace("_", "-")
