"""Verdicts for files and folders."""
