"""Verdicts for files and folders."""

from veriscope.predict.images import collect_images, judge_images

__all__ = ["collect_images", "judge_images"]
