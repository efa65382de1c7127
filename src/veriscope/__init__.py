"""veriscope trains, judges and ships detectors of deepfakes and AI-generated images."""

__version__ = "0.1.0"
