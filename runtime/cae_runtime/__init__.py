"""Runs CAE Toolkit models: `Restorer()(image)` cleans; `Inpainter`, `Encoder`, `Detector`, `Generator` do the rest."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported, which sends data otherwise

TYPE_CHECKING = False  # importing typing would take longer than all that is done here

if TYPE_CHECKING:
    from cae_runtime.errors import (
        ArgumentTypeError,
        CaeRuntimeError,
        DeviceError,
        ImageError,
        ImageTypeError,
        MissingExtraError,
        ModelError,
        ModelNotFoundError,
        ProviderError,
        UsageError,
        VideoError,
        VideoNotFoundError,
    )
    from cae_runtime.inpaint import Inpainter
    from cae_runtime.restorer import Restorer
    from cae_runtime.session import Session, packaged_models
    from cae_runtime.spec import ModelSpec
    from cae_runtime.tasks.anomaly import Detection, Detector
    from cae_runtime.tasks.encode import Encoder
    from cae_runtime.tasks.generate import Generator
    from cae_runtime.temporal import TemporalFilter
    from cae_runtime.video import CleanedVideo, VideoInterrupted, VideoPartlyDone, clean_video

    __version__: str

__all__ = [
    "ArgumentTypeError",
    "CaeRuntimeError",
    "CleanedVideo",
    "Detection",
    "Detector",
    "DeviceError",
    "Encoder",
    "Generator",
    "ImageError",
    "ImageTypeError",
    "Inpainter",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "ModelSpec",
    "ProviderError",
    "Restorer",
    "Session",
    "TemporalFilter",
    "UsageError",
    "VideoError",
    "VideoInterrupted",
    "VideoNotFoundError",
    "VideoPartlyDone",
    "clean_video",
    "packaged_models",
]

_HOME = {
    "ArgumentTypeError": "errors",
    "CaeRuntimeError": "errors",
    "CleanedVideo": "video",
    "Detection": "tasks.anomaly",
    "Detector": "tasks.anomaly",
    "DeviceError": "errors",
    "Encoder": "tasks.encode",
    "Generator": "tasks.generate",
    "ImageError": "errors",
    "ImageTypeError": "errors",
    "Inpainter": "inpaint",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelNotFoundError": "errors",
    "ModelSpec": "spec",
    "ProviderError": "errors",
    "Restorer": "restorer",
    "Session": "session",
    "TemporalFilter": "temporal",
    "UsageError": "errors",
    "VideoError": "errors",
    "VideoInterrupted": "video",
    "VideoNotFoundError": "errors",
    "VideoPartlyDone": "video",
    "clean_video": "video",
    "packaged_models": "session",
}


def _resolved(name: str) -> object:
    """Import a public name when it is first used, so that `import cae_runtime` costs nothing."""
    from importlib import import_module

    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("cae-toolkit")
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # for a type checker only the names above exist
    __getattr__ = _resolved


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
