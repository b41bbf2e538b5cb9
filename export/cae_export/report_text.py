"""Reports as the lines of text that the command prints."""

from typing import TYPE_CHECKING

from cae_export.defaults import PROOF_PATCHES
from cae_runtime.tasks.anomaly.false_alarms import measured_share
from cae_train.sheets.curves import UNCORRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cae_export.calibration import CalibrationReport
    from cae_export.checking import CheckReport
    from cae_export.converters.convert_to import ConversionReport
    from cae_export.exporter import ExportReport
    from cae_export.frames.exporter import FrameReport
    from cae_export.parity import BatchParity
    from cae_export.parts import PartReport
    from cae_runtime import ModelSpec


def part_table(report: "PartReport") -> list[str]:
    """The proof of a part as lines of text."""
    lines = [
        f"torch against fp32 in onnxruntime, on {report.inputs}",
        f"{'batch':>7}  {'largest difference':>18}  {'largest value':>13}",
        *(f"{row.batch:>7}  {row.difference:>18.1e}  {row.largest:>13.3g}" for row in report.parity),
    ]
    if report.spec.threshold is not None:
        lines.append(f"threshold {report.spec.threshold:.4g}: {threshold_text(report.spec)}")
    return [*lines, f"{report.path}: {report.bytes / 1e3:.0f} kB"]


def calibration_table(report: "CalibrationReport") -> list[str]:
    """The new threshold of a detector as lines of text."""
    return [
        f"threshold {report.spec.threshold:.4g}: {threshold_text(report.spec)}",
        f"{report.path}: {report.bytes / 1e3:.0f} kB",
    ]


def threshold_text(spec: "ModelSpec") -> str:
    """What is known of a detector's threshold."""
    if spec.threshold is None or spec.good_scores is None or spec.threshold_images is None:
        return f"set for {spec.false_alarms:.1%} of false alarms"
    measured = measured_share(spec.threshold, spec.good_scores, spec.threshold_images)
    return f"set for {spec.false_alarms:.1%} of false alarms on {spec.evaluated_on}; {measured}"


def check_table(report: "CheckReport") -> list[str]:
    """The comparison of a file with its model as lines of text."""
    gain = report.psnr_out - report.psnr_torch
    return [
        *_parity_lines(report.parity, report.spec.precision, report.count),
        f"{report.patches}: {_degraded(report.psnr_in)}torch {report.psnr_torch:.2f} dB, "
        f"{report.spec.precision} {report.psnr_out:.2f} dB",
        f"{report.path}: valid, and equal to the trained network"
        if report.parity
        else f"{report.path}: valid, and {abs(gain):.2f} dB {'above' if gain > 0 else 'below'} the trained network",
    ]


def conversion_table(report: "ConversionReport") -> list[str]:
    """The proof of a file of another engine as lines of text."""
    return [
        f"torch against {report.spec.precision} in {report.target}, on {report.patches}: largest "
        f"difference {report.difference:.1e}, {report.torch_psnr:.2f} dB and {report.engine_psnr:.2f} dB",
        f"{report.path}: {', '.join(report.files)}, {report.bytes / 1e3:.0f} kB",
    ]


def _degraded(figure: float) -> str:
    """The PSNR of the input, as the begin of a line; nothing where the input is its own target."""
    return f"degraded {figure:.2f} dB, " if figure < UNCORRUPTED else ""


def _parity_lines(rows: "Iterable[BatchParity]", precision: str, count: int) -> list[str]:
    found = [
        f"{row.batch:>7}  {row.difference:>18.1e}  {row.torch_psnr:>6.2f} dB  {row.onnx_psnr:>6.2f} dB" for row in rows
    ]
    if not found:
        return []
    return [
        f"torch against {precision} in onnxruntime, on up to {min(PROOF_PATCHES, count)} of the patches",
        f"{'batch':>7}  {'largest difference':>18}  {'torch':>9}  {'onnx':>9}",
        *found,
    ]


def table(report: "ExportReport") -> list[str]:
    """The proof and the figures as lines of text."""
    proved = "fp16" if report.spec.precision == "fp16" else "fp32"
    lines = [
        *_parity_lines(report.parity, proved, report.count),
        f"{report.patches}: {_degraded(report.psnr_in)}fp32 {report.psnr_fp32:.2f} dB"
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


def frame_table(report: "FrameReport") -> list[str]:
    """The proof of a file for whole frames as lines of text."""
    return [
        f"torch against {report.precision} in onnxruntime",
        f"{'size':>9}  {'largest difference':>18}",
        *(f"{f'{row.width}x{row.height}':>9}  {row.difference:>18.1e}" for row in report.parity),
        f"{report.patches}: {_degraded(report.psnr_in)}sliding patches "
        f"{report.psnr_sliding:.2f} dB, whole frames {report.psnr_out:.2f} dB",
        f"{report.path}: {report.bytes / 1e3:.0f} kB",
    ]
