"""Runs CAE Toolkit models: `Restorer()(image)` cleans; `Inpainter`, `Encoder`, `Detector`, `Generator` do the rest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cae_runtime.errors import (
        CaeRuntimeError,
        DeviceError,
        ImageError,
        ModelError,
        ProviderError,
        UsageError,
        VideoError,
    )
    from cae_runtime.inpaint import Inpainter
    from cae_runtime.restorer import Restorer
    from cae_runtime.session import Session, packaged_models
    from cae_runtime.spec import ModelSpec
    from cae_runtime.tasks.anomaly import Detector
    from cae_runtime.tasks.encode import Encoder
    from cae_runtime.tasks.generate import Generator
    from cae_runtime.temporal import TemporalFilter
    from cae_runtime.video import clean_video

__all__ = [
    "CaeRuntimeError",
    "Detector",
    "DeviceError",
    "Encoder",
    "Generator",
    "ImageError",
    "Inpainter",
    "ModelError",
    "ModelSpec",
    "ProviderError",
    "Restorer",
    "Session",
    "TemporalFilter",
    "UsageError",
    "VideoError",
    "clean_video",
    "packaged_models",
]

_HOME = {
    "CaeRuntimeError": "errors",
    "Detector": "tasks.anomaly",
    "DeviceError": "errors",
    "Encoder": "tasks.encode",
    "Generator": "tasks.generate",
    "ImageError": "errors",
    "Inpainter": "inpaint",
    "ModelError": "errors",
    "ModelSpec": "spec",
    "ProviderError": "errors",
    "Restorer": "restorer",
    "Session": "session",
    "TemporalFilter": "temporal",
    "UsageError": "errors",
    "VideoError": "errors",
    "clean_video": "video",
    "packaged_models": "session",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import cae_runtime` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
