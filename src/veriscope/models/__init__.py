"""Detectors: backbone, head, one logit."""

from veriscope.models.detector import Detector, build_detector, check_model
from veriscope.models.ensemble import AnyDetector, Ensemble

__all__ = ["AnyDetector", "Detector", "Ensemble", "build_detector", "check_model"]
