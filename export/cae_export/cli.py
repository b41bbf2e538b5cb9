"""`cae-export`: parse, call, report."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cae_export.defaults import (
    FALSE_ALARMS,
    MAX_DROP,
    OPSET,
    OPSET_MAX,
    OPSET_MIN,
    OVERLAP,
    PATCHES,
    PROOF_PATCHES,
    TOLERANCE,
    TOLERANCE_FP16,
)
from cae_export.errors import CaeExportError, RefusedError, UsageError
from cae_shared.command import require_address_space
from cae_shared.signals import interruptible
from cae_shared.text import printable, shell_word

if TYPE_CHECKING:
    from cae_export.exporter import ExportReport
    from cae_export.parts import Part, PartReport

INSTALL = "cae-export needs its extra: pip install 'cae-toolkit[export]' (in a checkout: pip install -e '.[export]')"
ADDRESS_SPACE = 2 * 2**30  # bytes that torch maps before it works; with less it crashes

OF_WHOLE = {"int8", "fp16", "max_drop", "patch"}
RUN = {
    "encoder": "photos/ -o features.npz",
    "decoder": "--generate 64 -o samples/",
    "anomaly": "parts/ -o heat/",
}

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cae-export {version('cae-toolkit')}")
        raise typer.Exit


@app.command()
def command(
    ctx: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL.pt", help="A model of cae-train.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="MODEL.onnx", help="The file to write; beside MODEL.pt without it."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise (MODEL-int8.onnx).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs (MODEL-fp16.onnx).")] = False,
    max_drop: Annotated[float, typer.Option(help="Refuse an int8 model that loses more dB against fp32.")] = MAX_DROP,
    data: Annotated[
        str | None,
        typer.Option(help="Data set or folder for proof, figures and calibration; the model's own without it."),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Where named data sets lie; where the model's lay without it.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help=f"Largest difference; {TOLERANCE:g} (fp32) or {TOLERANCE_FP16:g} (fp16)."),
    ] = None,
    opset: Annotated[int, typer.Option(help=f"ONNX operator set, {OPSET_MIN} to {OPSET_MAX}.")] = OPSET,
    overlap: Annotated[
        int | None,
        typer.Option(help=f"Overlap of patches that the file recommends; {OVERLAP} without it, other parts their own."),
    ] = None,
    patch: Annotated[int, typer.Option(help=f"Side of the patches: {', '.join(map(str, PATCHES))}.")] = PATCHES[0],
    part: Annotated[
        str | None, typer.Option(help="Export encoder (features) or decoder (a vae's, makes pictures) alone.")
    ] = None,
    anomaly: Annotated[
        bool, typer.Option("--anomaly", help="Export a detector of what is unlike the pictures trained on.")
    ] = False,
    false_alarms: Annotated[
        float, typer.Option(help="Share of good pictures that --anomaly may call bad.")
    ] = FALSE_ALARMS,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights' licence, for the metadata.")] = "",
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn MODEL.pt into one ONNX file, and prove that it equals what was trained.

    Exit codes: 0 written, 1 refused (nothing is written) or the system ran out of memory, disk space or open files,
    2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
    """
    if int8 and fp16:
        raise UsageError("--int8 and --fp16 exclude each other: one file has one precision")
    wanted = _wanted(ctx, part, anomaly)
    require_address_space(ADDRESS_SPACE)
    try:
        from cae_export.exporter import export
        from cae_export.parts import export_part
    except ModuleNotFoundError as e:
        if (e.name or "").startswith("cae_"):
            raise
        raise UsageError(f"{INSTALL} ({e.name} is missing)") from e
    if wanted is not None:
        with _interruptible():
            made = export_part(
                model,
                wanted,
                output,
                data=data,
                data_dir=data_dir,
                tolerance=TOLERANCE if tolerance is None else tolerance,
                false_alarms=false_alarms,
                opset=opset,
                overlap=overlap,
                license=license,
                tell=lambda line: typer.echo(printable(line), err=True),
            )
        for line in part_table(made):
            typer.echo(printable(line))
        for note in made.notes:
            typer.echo(printable(f"note: {note}"), err=True)
        typer.echo(printable(f"next: cae-run {RUN[wanted]} -m {shell_word(made.path)}"), err=True)
        return
    with _interruptible():
        report = export(
            model,
            output,
            precision="int8" if int8 else "fp16" if fp16 else "fp32",
            data=data,
            data_dir=data_dir,
            tolerance=tolerance,
            max_drop=max_drop,
            opset=opset,
            overlap=OVERLAP if overlap is None else overlap,
            patch=patch,
            license=license,
            tell=lambda line: typer.echo(printable(line), err=True),
        )
    for line in table(report):
        typer.echo(printable(line))
    if report.psnr_out < report.psnr_in and report.spec.degradation != "none":
        typer.echo("note: its output is worse than its input: its code is too narrow, or it needs longer training",
                   err=True)  # fmt: skip
    typer.echo(printable(f"next: cae-run photos/ -o clean/ -m {shell_word(report.path)}"), err=True)


def _wanted(ctx: typer.Context, part: str | None, anomaly: bool) -> "Part | None":
    """The part of the network that is asked for, None for all of it.

    Raises:
        UsageError: two of them, none that there is, or an option that has no use with it.
    """
    if part is not None and part not in ("encoder", "decoder"):
        raise UsageError(f"--part is {part!r}: choose encoder or decoder")
    if part is not None and anomaly:
        raise UsageError("--part and --anomaly exclude each other: one file has one task")
    wanted: Part | None = "anomaly" if anomaly else cast("Part | None", part)
    given = {name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    ignored = given & ({"false_alarms"} if not wanted else OF_WHOLE if anomaly else OF_WHOLE | {"false_alarms"})
    if ignored:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(ignored))
        what = "--anomaly" if anomaly else f"--part {part}" if part else "a model that restores"
        raise UsageError(f"{what} takes no {names}")
    return wanted


@contextmanager
def _interruptible() -> Iterator[None]:
    """A block that a signal ends in order, so that no temporary file stays, and that says so."""
    try:
        with interruptible():
            yield
    except (KeyboardInterrupt, SystemExit) as e:
        typer.echo("cae-export: interrupted", err=True)
        if isinstance(e, KeyboardInterrupt):
            raise typer.Exit(130) from e
        raise


def part_table(report: "PartReport") -> list[str]:
    """The proof of a part as lines of text."""
    lines = [
        f"torch against fp32 in onnxruntime, on {report.inputs}",
        f"{'batch':>7}  {'largest difference':>18}  {'largest value':>13}",
        *(f"{row.batch:>7}  {row.difference:>18.1e}  {row.largest:>13.3g}" for row in report.parity),
    ]
    if report.spec.threshold is not None:
        low, high = report.rates or (0.0, 1.0)
        lines.append(
            f"threshold {report.spec.threshold:.4g}: of {report.spec.evaluated_on} {report.spec.false_alarms:.1%} "
            f"score higher; of others {low:.1%} to {high:.1%} will, nine times in ten"
        )
    return [*lines, f"{report.path}: {report.bytes / 1e3:.0f} kB"]


def table(report: "ExportReport") -> list[str]:
    """The proof and the figures as lines of text."""
    proved = "fp16" if report.spec.precision == "fp16" else "fp32"
    lines = [
        f"torch against {proved} in onnxruntime, on {min(PROOF_PATCHES, report.count)} of the patches",
        f"{'batch':>7}  {'largest difference':>18}  {'torch':>9}  {'onnx':>9}",
        *(
            f"{row.batch:>7}  {row.difference:>18.1e}  {row.torch_psnr:>6.2f} dB  {row.onnx_psnr:>6.2f} dB"
            for row in report.parity
        ),
        f"{report.patches}: corrupted {report.psnr_in:.2f} dB, fp32 {report.psnr_fp32:.2f} dB"
        + ("" if report.spec.precision == "fp32" else f", {report.spec.precision} {report.psnr_out:.2f} dB"),
    ]
    if report.speed is not None:
        change = report.psnr_out - report.psnr_fp32
        lines.append(
            f"int8: {report.bytes / 1e3:.0f} kB (fp32 {report.fp32_bytes / 1e3:.0f} kB), {change:+.2f} dB, "
            f"{report.speed:.2f} x the speed of fp32 on this machine"
            + ("" if report.speed >= 1 else ": SLOWER here, keep fp32")
        )
    lines.append(f"{report.path}: {report.bytes / 1e3:.0f} kB")
    return lines


def main() -> None:
    """The console script: every expected error in one line on stderr, with its exit code."""
    try:
        app(standalone_mode=True)
    except RefusedError as e:
        _fail(e, 1)
    except CaeExportError as e:
        _fail(e, 2)


def _fail(error: Exception, code: int) -> None:
    sys.stderr.write(f"{printable(f'cae-export: {error}')}\n")
    sys.exit(code)
