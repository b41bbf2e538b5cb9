"""Task `anomaly`: the detector, and how often good pictures exceed its threshold."""

from cae_runtime.tasks.anomaly.detector import Detection, Detector

__all__ = ["Detection", "Detector"]
