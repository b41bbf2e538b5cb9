"""Detectors of anomalies: their scores, and the thresholds that are found on good pictures."""
