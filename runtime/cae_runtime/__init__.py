"""Runs CAE Toolkit models: `Restorer()(image)` cleans; `Inpainter`, `Encoder`, `Detector`, `Generator` do the rest."""

from __future__ import annotations

import os

from cae_shared.lazy_names import resolver

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported: otherwise it sends telemetry

TYPE_CHECKING = False  # importing typing would take longer than this whole module

if TYPE_CHECKING:
    from cae_runtime.errors import (
        ArgumentTypeError,
        CaeRuntimeError,
        ClusterError,
        DeviceError,
        ImageError,
        ImageNotFoundError,
        ImageTypeError,
        MissingExtraError,
        ModelError,
        ModelNotFoundError,
        ProviderError,
        UsageError,
        VideoError,
        VideoNotFoundError,
    )
    from cae_runtime.inference.model_files import packaged_models
    from cae_runtime.inference.model_spec import ModelSpec
    from cae_runtime.inference.session import Session
    from cae_runtime.jobs.cluster.engine import RayCluster
    from cae_runtime.jobs.restore.clean_files import clean_folder, clean_image
    from cae_runtime.jobs.restore.results import FileResult
    from cae_runtime.tasks.anomaly import Detection, Detector
    from cae_runtime.tasks.encode import Encoder
    from cae_runtime.tasks.generate import Generator
    from cae_runtime.tasks.inpaint import Inpainter
    from cae_runtime.tasks.restore import Restorer
    from cae_runtime.video.clean_video import clean_video
    from cae_runtime.video.results import CleanedVideo, VideoInterrupted, VideoPartlyDone
    from cae_runtime.video.temporal_filter import TemporalFilter

    __version__: str

__all__ = [
    "ArgumentTypeError",
    "CaeRuntimeError",
    "CleanedVideo",
    "ClusterError",
    "Detection",
    "Detector",
    "DeviceError",
    "Encoder",
    "FileResult",
    "Generator",
    "ImageError",
    "ImageNotFoundError",
    "ImageTypeError",
    "Inpainter",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "ModelSpec",
    "ProviderError",
    "RayCluster",
    "Restorer",
    "Session",
    "TemporalFilter",
    "UsageError",
    "VideoError",
    "VideoInterrupted",
    "VideoNotFoundError",
    "VideoPartlyDone",
    "clean_folder",
    "clean_image",
    "clean_video",
    "packaged_models",
]

_HOME = {
    "ArgumentTypeError": "errors",
    "CaeRuntimeError": "errors",
    "CleanedVideo": "video.results",
    "ClusterError": "errors",
    "Detection": "tasks.anomaly",
    "Detector": "tasks.anomaly",
    "DeviceError": "errors",
    "Encoder": "tasks.encode",
    "FileResult": "jobs.restore.results",
    "Generator": "tasks.generate",
    "ImageError": "errors",
    "ImageNotFoundError": "errors",
    "ImageTypeError": "errors",
    "Inpainter": "tasks.inpaint",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelNotFoundError": "errors",
    "ModelSpec": "inference.model_spec",
    "ProviderError": "errors",
    "RayCluster": "jobs.cluster.engine",
    "Restorer": "tasks.restore",
    "Session": "inference.session",
    "TemporalFilter": "video.temporal_filter",
    "UsageError": "errors",
    "VideoError": "errors",
    "VideoInterrupted": "video.results",
    "VideoNotFoundError": "errors",
    "VideoPartlyDone": "video.results",
    "clean_folder": "jobs.restore.clean_files",
    "clean_image": "jobs.restore.clean_files",
    "clean_video": "video.clean_video",
    "packaged_models": "inference.model_files",
}


if not TYPE_CHECKING:  # type checkers see only the names above
    __getattr__ = resolver(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
