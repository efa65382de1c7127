"""The shipped thing: a detector with everything that its scores mean."""

from veriscope.bundle.bundle import Bundle, TrainingFacts, load_bundle, save_bundle
from veriscope.bundle.ensemble import Part, save_ensemble
from veriscope.bundle.scorer import Scored, Scorer

__all__ = ["Bundle", "Part", "Scored", "Scorer", "TrainingFacts", "load_bundle", "save_bundle", "save_ensemble"]
