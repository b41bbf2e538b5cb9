"""Turn a trained `model.pt` into one ONNX file, and prove that it equals what was trained.

    from cae_export import export
    report = export(Path("model.pt"), precision="int8")

Importing the package imports nothing heavy: names are resolved when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cae_export.errors import CaeExportError, RefusedError, UsageError
    from cae_export.exporter import ExportReport, export
    from cae_export.parts import PartReport, export_part

__all__ = ["CaeExportError", "ExportReport", "PartReport", "RefusedError", "UsageError", "export", "export_part"]

_HOME = {
    "CaeExportError": "errors",
    "ExportReport": "exporter",
    "PartReport": "parts",
    "RefusedError": "errors",
    "UsageError": "errors",
    "export": "exporter",
    "export_part": "parts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
