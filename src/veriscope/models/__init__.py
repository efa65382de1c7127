"""Detectors: backbone, head, one logit. Nothing is imported here: what scores strangeness needs no torch."""
