"""The shipped thing: a detector with everything that its scores mean."""

from veriscope.bundle.base import BaseBundle
from veriscope.bundle.bundle import Bundle, load_bundle, load_folder
from veriscope.bundle.scorer import Scored, Scorer

__all__ = ["BaseBundle", "Bundle", "Scored", "Scorer", "load_bundle", "load_folder"]
