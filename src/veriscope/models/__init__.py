"""Detectors: backbone, head, one logit."""

from veriscope.models.detector import Detector, build_detector, check_model

__all__ = ["Detector", "build_detector", "check_model"]
