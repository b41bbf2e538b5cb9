"""Checks which options of `cae-export` can be combined."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from cae_export.errors import UsageError

if TYPE_CHECKING:
    from cae_export.parts import Part

OF_WHOLE = {"int8", "fp16", "max_drop", "patch", "layout", "portable", "to"}
OF_CALIBRATE = {"model", "output", "overwrite", "calibrate", "false_alarms", "verbose"}
OF_CHECK = {"check", "against", "data", "data_dir", "tolerance", "max_drop", "verbose"}
NOT_OF_FRAMES = (OF_WHOLE - {"fp16"}) | {"overlap", "part", "anomaly", "false_alarms", "calibrate"}


def given_on_command_line(ctx: typer.Context) -> set[str]:
    """Names of the options on the command line."""
    return {name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"}


def check_whole_frame(given: set[str]) -> None:
    """Refuse two precisions, and options that have no use with whole frames.

    Raises:
        UsageError: there are such options.
    """
    if {"int8", "fp16"} <= given:
        raise UsageError("--int8 and --fp16 cannot be combined: a file has one precision")
    if "whole_frame" in given and (ignored := given & NOT_OF_FRAMES):
        raise UsageError(f"--whole-frame takes no {_options(ignored)}")


def check_calibration(given: set[str]) -> None:
    """Refuse options that have no use with `--calibrate`.

    Raises:
        UsageError: there is such an option.
    """
    if ignored := given - OF_CALIBRATE:
        raise UsageError(f"--calibrate takes no {_options(ignored)}")


def part_wanted(given: set[str], part: str | None, anomaly: bool) -> "Part | None":
    """The requested part of the network; None for the whole network.

    Raises:
        UsageError: two of them, none that there is, or an option that has no use with it.
    """
    if part is not None and part not in ("encoder", "decoder"):
        raise UsageError(f"--part is {part!r}: choose encoder or decoder")
    if part is not None and anomaly:
        raise UsageError("--part and --anomaly cannot be combined: a file has one task")
    wanted: Part | None = "anomaly" if anomaly else cast("Part | None", part)
    ignored = given & ({"false_alarms"} if not wanted else OF_WHOLE if anomaly else OF_WHOLE | {"false_alarms"})
    if ignored:
        what = "--anomaly" if anomaly else f"--part {part}" if part else "a model that restores"
        raise UsageError(f"{what} takes no {_options(ignored)}")
    if "portable" in given and "int8" not in given:
        raise UsageError("--portable needs --int8: the other files suit other engines as they are")
    _check_max_drop(given)
    return wanted


def _check_max_drop(given: set[str]) -> None:
    """Refuse `--max-drop` for files that may lose nothing.

    Raises:
        UsageError: it has no use here.
    """
    needed = {"int8", "fp16"} if "to" in given else {"int8", "check"}
    if "max_drop" in given and not given & needed:
        options = "--int8 or --fp16" if "to" in given else "--int8"
        raise UsageError(f"--max-drop needs {options}: other files have to give the trained network's output")


def compared_files(
    given: set[str], model: Path | None, check: Path | None, against: Path | None
) -> tuple[Path, Path] | None:
    """The file that is checked and the model that it came from; None where a file is made.

    Raises:
        UsageError: one of both is missing, or there is an option that has no use with them.
    """
    if check is None and against is None:
        return None
    if check is None or against is None or model is not None:
        raise UsageError("--check MODEL.onnx and --against MODEL.pt are needed together, without another MODEL.pt")
    if ignored := given - OF_CHECK:
        raise UsageError(f"--check takes no {_options(ignored)}")
    return check, against


def _options(names: set[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
