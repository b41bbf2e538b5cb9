"""`cae-export`: parse, call, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.core import TyperCommand

from cae_export.defaults import (
    FALSE_ALARMS,
    MAX_DROP,
    OPSET,
    OPSET_MAX,
    OPSET_MIN,
    OVERLAP,
    PATCHES,
    TOLERANCE,
    TOLERANCE_FP16,
)
from cae_export.errors import CaeExportError, OutputExistsError, RanOutError, RefusedError, UsageError
from cae_export.option_checks import (
    check_calibration,
    check_whole_frame,
    compared_files,
    given_on_command_line,
    part_wanted,
)
from cae_export.report_text import calibration_table, check_table, conversion_table, frame_table, part_table, table
from cae_shared.command import require_address_space
from cae_shared.expected_errors import end_with, ended_in_order, importing_extra
from cae_shared.help_groups import grouped
from cae_shared.logs import log_to_stderr
from cae_shared.text import options_of, printable, shell_word

if TYPE_CHECKING:
    from cae_export.converters.convert_to import Target
    from cae_export.exporter import ExportOptions, Layout, Precision
    from cae_export.frames.exporter import FrameOptions
    from cae_export.parts import Part, PartOptions
    from cae_export.proved_file import FileOptions

ADDRESS_SPACE = 2 * 2**30  # bytes that torch maps before it works; with less it crashes
RUN = {  # by task or part
    "restore": "photos/ -o clean/",
    "reproduce": "photos/ -o reconstructed/",  # plain autoencoders, which restore nothing
    "inpaint": "photos/ -o filled/ --mask masks/",
    "encoder": "photos/ -o features.npz",
    "decoder": "--generate 64 -o samples/",
    "anomaly": "parts/ -o heat/",
}

GROUPS = {
    "File": ("output", "overwrite", "int8", "fp16", "patch", "overlap", "license"),
    "Other engines": ("to", "whole_frame", "opset", "batch", "layout", "portable", "input_name", "output_name"),
    "Proof": ("data", "data_dir", "tolerance", "max_drop", "check", "against"),
    "Other tasks": ("part", "anomaly", "false_alarms", "calibrate"),
}

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-export {version('cae-toolkit')}")
        raise typer.Exit


@app.command(cls=grouped(TyperCommand, GROUPS))
def command(
    ctx: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL.pt", help="A model from cae-train.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="MODEL.onnx", help="File, or with --to the folder. Default: beside MODEL.pt."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Quantize to int8 (MODEL-int8.onnx).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs (MODEL-fp16.onnx).")] = False,
    max_drop: Annotated[
        float, typer.Option(help="With --int8: refuse a file that loses more dB than this against fp32.")
    ] = MAX_DROP,
    data: Annotated[
        str | None,
        typer.Option(help="Data set or folder for proof, figures and calibration. Default: the model's training data."),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of named data sets. Default: the folder used in training.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help=f"Maximum difference from PyTorch. Default: {TOLERANCE:g} (fp32) or {TOLERANCE_FP16:g} (fp16)."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Write a folder for this engine instead: openvino, mnn or ncnn.")
    ] = None,
    whole_frame: Annotated[
        bool,
        typer.Option(
            "--whole-frame", help="Write a file that takes frames of any size (MODEL-frame.onnx), for other programs."
        ),
    ] = False,
    opset: Annotated[int, typer.Option(help=f"ONNX operator set, {OPSET_MIN} to {OPSET_MAX}.")] = OPSET,
    batch: Annotated[
        int | None, typer.Option(help="Fixed number of patches per call, for engines without dynamic sizes.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="nchw, or nhwc (channels last). Default: nhwc for int8 where possible, otherwise nchw."),
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="With --int8: signed activations and explicit ReLUs, for other engines.")
    ] = False,
    input_name: Annotated[
        str | None, typer.Option(help="Name of the graph's input. Default: input (decoder: code).")
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option(help="Name of the graph's output. Default: output (encoder: code, detector: score)."),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help=f"Recommended overlap of patches, in pixels. Default: {OVERLAP}; encoder and decoder 0, detector 16."
        ),
    ] = None,
    patch: Annotated[int, typer.Option(help=f"Patch size in pixels: {', '.join(map(str, PATCHES))}.")] = PATCHES[0],
    check: Annotated[
        Path | None,
        typer.Option(metavar="MODEL.onnx", help="Prove that this file equals --against; nothing is written."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="MODEL.pt", help="The model that the file of --check was exported from.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="Export only the encoder (for features) or decoder (of a vae, to generate pictures)."),
    ] = None,
    anomaly: Annotated[
        bool, typer.Option("--anomaly", help="Export an anomaly detector from a model trained on good pictures.")
    ] = False,
    false_alarms: Annotated[
        float, typer.Option(help="Share of good pictures that may count as anomalies.")
    ] = FALSE_ALARMS,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Set the threshold of a detector (MODEL.onnx) from these good pictures."),
    ] = None,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights' license, for the metadata.")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show details of each step.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Export MODEL.pt as one ONNX file, and prove that it equals the trained network.

    Exit codes: 0 written, or --check found no difference; 1 refused (nothing is written), or memory, disk space or open
    files ran out; 2 wrong usage; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM); 129 terminal
    closed (SIGHUP).
    """
    log_to_stderr(verbose)
    given = given_on_command_line(ctx)
    check_whole_frame(given)
    compared = compared_files(given, model, check, against)
    wanted = part_wanted(given, part, anomaly) if calibrate is None else None
    require_address_space(ADDRESS_SPACE)
    options: FileOptions = {
        "data": data, "data_dir": data_dir, "tolerance": tolerance, "opset": opset, "overlap": overlap, "batch": batch,
        "license": license, "input_name": input_name, "output_name": output_name, "overwrite": overwrite,
    }  # fmt: skip
    with importing_extra("cae-export", "export", UsageError):
        if compared is not None:
            _check(*compared, data, data_dir, tolerance, max_drop)
        elif model is None:
            raise UsageError("MODEL.pt is missing: pass a model.pt that cae-train wrote")
        elif whole_frame:
            _export_frames(model, output, {**options, "precision": "fp16" if fp16 else "fp32"})
        elif calibrate is not None:
            check_calibration(given)
            _calibrate(model, calibrate, output, overwrite, false_alarms if "false_alarms" in given else None)
        elif wanted is not None:
            _export_part(model, wanted, output, {**options, "false_alarms": false_alarms})
        else:
            precision: Precision = "int8" if int8 else "fp16" if fp16 else "fp32"
            chosen = cast("Layout | None", layout)
            limit: ExportOptions = {"max_drop": max_drop} if "max_drop" in given else {}
            whole: ExportOptions = {
                **options, **limit, "precision": precision, "patch": patch, "layout": chosen, "portable": portable,
            }  # fmt: skip
            _export(model, output, whole) if to is None else _convert(to, model, output, whole)


def _export(model: Path, output: Path | None, options: "ExportOptions") -> None:
    from cae_export.exporter import export

    with ended_in_order("cae-export"):
        report = export(model, output, **options)
    _print(table(report))
    plain = report.spec.degradation == "none"
    if report.psnr_out < report.psnr_in and not plain:
        typer.echo("note: its output is worse than its input: its code is too narrow, or it needs longer training",
                   err=True)  # fmt: skip
    run = RUN["reproduce" if plain else report.spec.task]
    typer.echo(printable(f"next: cae-run {run} -m {shell_word(report.path)}"), err=True)


def _export_frames(model: Path, output: Path | None, options: "FrameOptions") -> None:
    from cae_export.frames.exporter import export_frames

    with ended_in_order("cae-export"):
        _print(frame_table(export_frames(model, output, **options)))


def _convert(to: str, model: Path, output: Path | None, options: "ExportOptions") -> None:
    from cae_export.converters.convert_to import convert_to

    with ended_in_order("cae-export"):
        report = convert_to(cast("Target", to), model, output, **options)
    _print(conversion_table(report))


def _check(
    file: Path, model: Path, data: str | None, data_dir: str | None, tolerance: float | None, max_drop: float
) -> None:
    from cae_export.checking import check

    with ended_in_order("cae-export"):
        report = check(file, model, data=data, data_dir=data_dir, tolerance=tolerance, max_drop=max_drop)
    _print(check_table(report))


def _export_part(model: Path, part: "Part", output: Path | None, options: "PartOptions") -> None:
    from cae_export.parts import export_part

    with ended_in_order("cae-export"):
        report = export_part(model, part, output, **options)
    _say(part_table(report), report.notes, _next_run(part, report.folder), report.path)


def _calibrate(model: Path, good: Path, output: Path | None, overwrite: bool, false_alarms: float | None) -> None:
    from cae_export.calibration import calibrate

    with ended_in_order("cae-export"):
        chosen = {} if false_alarms is None else {"false_alarms": false_alarms}
        report = calibrate(model, good, output, overwrite=overwrite, **chosen)
    _say(calibration_table(report), report.notes, _next_run("anomaly", good), report.path)


def _next_run(part: str, folder: Path | None) -> str:
    """What to do with a part; a detector tries the folder of good pictures first, if there is one."""
    if part != "anomaly" or folder is None or not folder.is_dir():
        return RUN[part]
    return f"{shell_word(folder)} -o heat/"


def _print(lines: list[str]) -> None:
    for line in lines:
        typer.echo(printable(line))


def _say(lines: list[str], notes: tuple[str, ...], run: str, path: Path) -> None:
    _print(lines)
    for note in notes:
        typer.echo(printable(f"note: {note}"), err=True)
    typer.echo(printable(f"next: cae-run {run} -m {shell_word(path)}"), err=True)


def main() -> None:
    """The console script: every expected error in one line on stderr, with its exit code."""
    options = options_of(typer.main.get_command(app).params)
    try:
        app(standalone_mode=True)
    except (RanOutError, RefusedError) as e:
        end_with("cae-export", e, 1, options)
    except OutputExistsError as e:
        end_with("cae-export", OutputExistsError(f"{e}: --overwrite replaces it"), 2, options)
    except CaeExportError as e:
        end_with("cae-export", e, 2, options)
