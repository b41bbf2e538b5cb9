"""Export a trained `model.pt` as one ONNX file, and prove that it equals the trained network.

    from cae_export import export
    report = export("model.pt", precision="int8")

Importing the package imports nothing heavy: names are resolved when they are first used.
"""

import os

from cae_shared.lazy_names import resolver

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported: otherwise it sends telemetry

TYPE_CHECKING = False  # importing typing would take longer than this whole module

if TYPE_CHECKING:
    from cae_export.calibration import CalibrationReport, calibrate
    from cae_export.checking import CheckReport, check
    from cae_export.converters.convert_to import ConversionReport, convert_to
    from cae_export.errors import (
        ArgumentTypeError,
        CaeExportError,
        ModelNotFoundError,
        OutputExistsError,
        RanOutError,
        RefusedError,
        UsageError,
    )
    from cae_export.exporter import ExportReport, export
    from cae_export.frames.exporter import FrameReport, export_frames
    from cae_export.parts import PartReport, export_part

    __version__: str

__all__ = [
    "ArgumentTypeError",
    "CaeExportError",
    "CalibrationReport",
    "CheckReport",
    "ConversionReport",
    "ExportReport",
    "FrameReport",
    "ModelNotFoundError",
    "OutputExistsError",
    "PartReport",
    "RanOutError",
    "RefusedError",
    "UsageError",
    "calibrate",
    "check",
    "convert_to",
    "export",
    "export_frames",
    "export_part",
]

_HOME = {
    "ArgumentTypeError": "errors",
    "ModelNotFoundError": "errors",
    "OutputExistsError": "errors",
    "CaeExportError": "errors",
    "CalibrationReport": "calibration",
    "calibrate": "calibration",
    "CheckReport": "checking",
    "check": "checking",
    "ConversionReport": "converters.convert_to",
    "convert_to": "converters.convert_to",
    "ExportReport": "exporter",
    "FrameReport": "frames.exporter",
    "export_frames": "frames.exporter",
    "PartReport": "parts",
    "RanOutError": "errors",
    "RefusedError": "errors",
    "UsageError": "errors",
    "export": "exporter",
    "export_part": "parts",
}


if not TYPE_CHECKING:  # type checkers see only the names above
    __getattr__ = resolver(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
